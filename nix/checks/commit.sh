# Commits the system of a link to the repository of repository.sh.
# Usage: sh commit.sh FILES DIRECTORY LINK MESSAGE
set -eu
cp -L "$1"/* "$2"
printf '"%s"' "$(readlink -f "$3")" > "$2/system.json"
cd "$2"
git add -A
git -c user.name=operator -c user.email=operator@example.org commit -q -S -m "$4"

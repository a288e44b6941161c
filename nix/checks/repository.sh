# Makes the repository that the machine of the tests follows: git, ssh-keygen, and
# the key that everybody has. Dates are fixed and ed25519 signs the same way each
# time, so its first commit always has the same id; node.nix says which.
# Usage: sh repository.sh KEY DIRECTORY
set -eu
key=$1
dir=$2

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=operator GIT_AUTHOR_EMAIL=operator@example.org
export GIT_COMMITTER_NAME=operator GIT_COMMITTER_EMAIL=operator@example.org
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'

git init -q -b main "$dir"
cd "$dir"
git config gpg.format ssh
git config user.signingkey "$key"
mkdir .pullnode
echo "operator@example.org namespaces=\"git\" $(ssh-keygen -y -f "$key" | cut -d' ' -f1,2)" > .pullnode/allowed_signers
git add .pullnode/allowed_signers
git commit -q -S -m "pullnode: introduce operator@example.org"
git rev-parse HEAD

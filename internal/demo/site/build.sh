# Builds the demo's system: a web site and the program that switches to it.
set -eu
mkdir -p "$out/bin"
cp -r "$site" "$out/site"
cat > "$out/bin/switch-to-configuration" <<X
#!/bin/sh
# Stands for NixOS' switch-to-configuration, below \$PULLNODE_ROOT only.
set -eu
case "\$1" in
  test) ln -sfn "$out" "\$PULLNODE_ROOT/run/current-system.new"
        mv -T "\$PULLNODE_ROOT/run/current-system.new" "\$PULLNODE_ROOT/run/current-system" ;;
  boot) mkdir -p "\$PULLNODE_ROOT/boot"; echo "$out" > "\$PULLNODE_ROOT/boot/default" ;;
  *) echo "usage: switch-to-configuration test|boot" >&2; exit 1 ;;
esac
X
chmod +x "$out/bin/switch-to-configuration"

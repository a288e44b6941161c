# Builds the toplevel that toplevel.nix describes, in $out.
umask 022
mkdir -p "$out/bin" "$out/etc/systemd/system"
units=$out/etc/systemd/system

i=0
printf '%s\n' "$names" | while read -r name; do
  [ -n "$name" ] || continue
  mkdir -p "$out/$(dirname "$name")"
  eval "from=\$text${i}Path"
  sed "s#@toplevel@#$out#g" "$from" > "$out/$name"
  i=$((i + 1))
done

# What NixOS' wantedBy and requiredBy do.
for file in "$units"/*; do
  [ -f "$file" ] || continue
  unit=${file##*/}
  for pair in WantedBy:wants RequiredBy:requires; do
    for target in $(sed -n "s/^${pair%%:*}=//p" "$file"); do
      mkdir -p "$units/$target.${pair##*:}"
      ln -s "../$unit" "$units/$target.${pair##*:}/$unit"
    done
  done
done

{ echo "[Manager]"; echo "DefaultTimeoutStopSec=10s"; } > "$out/etc/systemd/system.conf"
[ "$mode" != sysconf ] || echo "DefaultTimeoutStartSec=33s" >> "$out/etc/systemd/system.conf"
(cd "$out/etc" && find . -type f ! -path './systemd/system/*' | sed 's#^\./##' | sort) > "$out/etc-files"

interface=1
[ "$mode" != initchange ] || interface=2
printf 'systemd %s' "$interface" > "$out/init-interface-version"
printf '%s' "$gen" > "$out/nixos-version"
printf '%s' "$system" > "$out/system"
printf '%s' "$kernelParams" > "$out/kernel-params"
ln -s "$kernel" "$out/kernel"
ln -s "$initrd" "$out/initrd"
ln -s /usr "$out/sw"

# Each program below works on the machine, or below $PULLNODE_ROOT where that is
# set: then there is no systemd and no root.

cat > "$out/activate" <<END
#!/bin/sh
# Like NixOS' activation, it goes on after a part that failed, sets
# /run/current-system in any case, and tells at the end.
root=\${PULLNODE_ROOT:-}
status=0
point() { # point <link> <target>: in one step, the old target or the new
  mkdir -p "\${1%/*}" && ln -sfn "\$2" "\$1.new" && mv -T "\$1.new" "\$1" || status=1
}
echo "activating $gen" >&2
if [ -z "\$root" ]; then
  touch /etc/NIXOS
  was=\$(cat /etc/static/../etc-files 2>/dev/null)
  point /etc/static "$out/etc"
  point /etc/systemd/system /etc/static/systemd/system
  while read -r file; do point "/etc/\$file" "/etc/static/\$file"; done < "$out/etc-files"
  for file in \$was; do
    grep -qxF "\$file" "$out/etc-files" || rm -f "/etc/\$file"
  done
fi
[ "$mode" != badactivate ] || { echo "a part of the activation fails" >&2; status=7; }
point "\$root/run/current-system" "$out"
exit \$status
END

cat > "$out/dry-activate" <<END
#!/bin/sh
echo "would activate $gen" >&2
END

cat > "$out/pre-switch-checks" <<END
#!/bin/sh
[ "$mode" != badcheck ] || { echo "this system must not be switched to" >&2; exit 1; }
[ "$mode" != strict ] || [ ! -e /run/no-switch ] || { echo "not now" >&2; exit 1; }
END

cat > "$out/init" <<END
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /run/nixos
"$out/activate"
ln -sfn "$out" /run/booted-system
[ "$mode" != badinit ] || exit 1
exec /lib/systemd/systemd "\$@"
END

# A model of systemd-boot's installer: an entry for each generation of the
# profile, the argument's generation as default. As there, loader.conf is
# written by way of a loader.tmp that must not exist yet.
cat > "$out/install-bootloader" <<END
#!/bin/sh
set -eu
root=\${PULLNODE_ROOT:-}
[ "$mode" != badloader ] || { echo "no space on the boot partition" >&2; exit 1; }
if [ -n "\$root" ]; then profiles=\$root/profiles; else profiles=/nix/var/nix/profiles; fi
loader=\$root/boot/loader
mkdir -p "\$loader/entries"
default=
for link in "\$profiles"/system-*-link; do
  [ -L "\$link" ] || continue
  number=\${link%-link}; number=\${number##*-}
  system=\$(readlink "\$link")
  entry=\$loader/entries/nixos-generation-\$number${tries:+"+$tries"}.conf
  for have in "\$loader/entries/nixos-generation-\$number.conf" "\$loader/entries/nixos-generation-\$number"+*.conf; do
    [ ! -e "\$have" ] || entry=\$have
  done
  {
    echo "title NixOS"
    echo "version Generation \$number \$(cat "\$system/nixos-version")"
    echo "linux \$(readlink "\$system/kernel")"
    echo "initrd \$(readlink "\$system/initrd")"
    echo "options init=\$system/init \$(cat "\$system/kernel-params")"
  } > "\$entry.tmp"
  sync "\$entry.tmp"
  mv "\$entry.tmp" "\$entry"
  [ "\$system" != "\$1" ] || default=nixos-generation-\$number
done
[ -n "\$default" ] || { echo "\$1 is no generation of the system profile" >&2; exit 1; }
set -C
{ echo "timeout 5"; echo "default \$default.conf"; } > "\$loader/loader.tmp"
sync "\$loader/loader.tmp"
mv "\$loader/loader.tmp" "\$loader/loader.conf"
for entry in "\$loader/entries"/nixos-generation-*.conf; do
  number=\${entry##*nixos-generation-}; number=\${number%.conf}; number=\${number%%+*}
  [ -L "\$profiles/system-\$number-link" ] || rm "\$entry"
done
END

cat > "$out/bin/switch-to-configuration" <<END
#!/bin/sh
[ -n "\${PULLNODE_ROOT:-}" ] || exec "$stc" "$out" "\$@"
case "\${1:-}" in
  check) exec "$out/pre-switch-checks" ;;
  test) "$out/pre-switch-checks" || exit 1; "$out/activate" || exit 2 ;;
  boot) "$out/install-bootloader" "$out" || exit 1 ;;
  *) echo "usage: switch-to-configuration check|test|boot" >&2; exit 1 ;;
esac
END

chmod +x "$out/bin/switch-to-configuration" "$out/activate" "$out/dry-activate" \
  "$out/pre-switch-checks" "$out/init" "$out/install-bootloader"

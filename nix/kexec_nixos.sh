#!/bin/sh
# Boots the installer in place of the Linux that runs. Arguments go to the installer's
# kernel, such as pullnode.ip=192.0.2.10/24,192.0.2.1
set -eu
dir=$(dirname "$(readlink -f "$0")")/kexec_nixos.d
"$dir/kexec" --kexec-syscall-auto --load "$dir/kernel" --initrd="$dir/initrd" --command-line "@cmdline@${*:+ $*}"
sync
exec "$dir/kexec" -e

// Package lab makes machines that look like NixOS hosts to pullnode, out of
// Debian packages: no NixOS, no nixpkgs, no virtual machine and no network once
// the root file system is in the cache. It is a test rig; nothing that is
// installed imports it.
//
// Real: the kernel, systemd as PID 1 with its units, timers, jobs, D-Bus and
// journal (252 on release bookworm, 257 on trixie); Nix with its daemon, build
// users, store, profiles and garbage collector (2.8 and 2.26); evaluation and
// builds; the toplevel's own init as PID 1, so that booting a generation boots
// that generation; every file and link that pullnode reads or writes.
//
// Stand-ins:
//   - switch-to-configuration is our own program, command stc, which keeps the
//     contract that pullnode depends on. It has no user units, no tmpfiles step,
//     no specialisations and no switch inhibitors.
//   - The toplevel comes from site/toplevel.nix, not from the NixOS modules.
//   - The boot loader is a shell script and a directory; Reboot plays firmware
//     and systemd-boot: the one-shot entry, then the default, then the newest
//     entry that has tries left.
//   - Kill9 is power loss as programs see it. The page cache survives, so what
//     was not synced is not lost: that needs a virtual machine.
//   - The machine shares the kernel and its clock with the host. Nix builds
//     without sandbox, because Debian's does. On a host with version 1 control
//     groups MemoryMax= has no effect.
//
// Boot needs root and the Debian packages that Rootfs and Boot name when they
// are missing.
package lab

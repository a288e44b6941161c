// Package units holds the unit files for machines that are not NixOS, where no
// module writes them. The NixOS module says the same in Nix.
package units

import "embed"

// Files has one file per unit, named like the unit. They find pullnode by
// systemd's own search path, so it must be in /usr/local/bin or /usr/bin.
//
//go:embed *.service *.socket
var Files embed.FS

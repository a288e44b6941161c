// Package units holds the unit files. The Nix package installs them and the NixOS
// module adds to them by drop-ins; machines that are not NixOS take them as they are.
package units

import "embed"

// Files has one file per unit, named like the unit. They find pullnode by
// systemd's own search path, so it must be in /usr/local/bin or /usr/bin.
//
//go:embed *.service *.socket *.target
var Files embed.FS

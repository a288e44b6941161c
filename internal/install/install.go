// Package install puts one machine of a verified tree on the disks of this
// machine, by the tools of NixOS: disko for the disks, nixos-install for the
// system.
//
// It never looks for a commit and never decides whether one may run: the tree that
// it is given was verified. Everything that can fail without touching a disk is
// asked first (Look, Disks); only Install writes.
package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// Run starts a tool and gives what it wrote to its standard output. The error
// ends with the last line that the tool wrote to its standard error.
type Run func(ctx context.Context, argv ...string) ([]byte, error)

// Installer installs one host.
type Installer struct {
	Host string
	Tree string // the exported commit; has flake.nix
	Dir  string // of flake.nix in it; empty is its root
	Root string // where the new system is mounted, /mnt
	Run  Run

	There  Run                              // runs a program where the disks are; Run when nil
	Again  bool                             // what is mounted below Root there is left from an earlier run, and disko unmounts it
	Leaves bool                             // the system there leaves its disks before they are wiped, by kexec
	Say    func(format string, args ...any) // one line of progress
}

// Facts are what the host's configuration says of its installation.
type Facts struct {
	Drv   string            `json:"drv"`   // the system evaluates to this
	Disks map[string]string `json:"disks"` // disko's name -> device, all of which are wiped
	Keys  struct {
		Sources   []map[string]any `json:"sources"`
		Recipient string           `json:"recipient"`
		Files     []string         `json:"files"`
	} `json:"keys"`
	Ports []int `json:"ports"` // of its sshd
}

const factsOf = `c: {
  drv = builtins.unsafeDiscardStringContext c.system.build.toplevel.drvPath;
  disks = builtins.mapAttrs (_: d: d.device) (c.disko.devices.disk or { });
  keys = { inherit (c.services.pullnode.settings.keys) sources files; recipient = toString c.services.pullnode.settings.keys.recipient; };
  ports = c.services.openssh.ports or [ ];
}`

// nixFlags keep a tree from choosing where Nix gets things from, as in package
// activate.
var nixFlags = []string{"--extra-experimental-features", "nix-command flakes",
	"--option", "accept-flake-config", "false", "--option", "flake-registry", ""}

// Nix is the command line of nix for a verb that works on a verified tree.
func Nix(verb string, args ...string) []string {
	return slices.Concat([]string{"nix"}, nixFlags, []string{verb, "--no-update-lock-file"}, args)
}

// Flake is the verified tree and the host in it, as Nix tools take it.
func (i *Installer) Flake() string { return i.flake() + "#" + i.Host }

func (i *Installer) flake() string {
	return "path:" + filepath.Join(i.Tree, i.Dir)
}

// Look evaluates the host, without building it. An error says what the tree lacks.
func (i *Installer) Look(ctx context.Context) (Facts, error) {
	var f Facts
	dir := filepath.Join("hosts", i.Host)
	if _, err := os.Stat(filepath.Join(i.Tree, i.Dir, "hosts")); err == nil {
		for _, name := range []string{"host.nix", "default.nix", "disko.nix"} {
			if _, err := os.Stat(filepath.Join(i.Tree, i.Dir, dir, name)); err != nil {
				return f, fmt.Errorf("the signed commit has no %s", filepath.Join(dir, name))
			}
		}
	}
	out, err := i.Run(ctx, Nix("eval", "--json", i.flake()+`#nixosConfigurations."`+i.Host+`".config`, "--apply", factsOf)...)
	if err != nil {
		return f, fmt.Errorf("%s does not evaluate: %w", i.Host, err)
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("%s: nix eval gave no facts: %w", i.Host, err)
	}
	if len(f.Disks) == 0 {
		return f, fmt.Errorf("%s names no disk in disko.devices.disk: there is nothing to install on", i.Host)
	}
	return f, nil
}

// Devices are what will be wiped, sorted.
func (f Facts) Devices() []string {
	var all []string
	for _, d := range f.Disks {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	sort.Strings(all)
	return all
}

// Install wipes the disks of the facts, puts the files of staging on the new root
// and installs the system. Whatever fails after disko leaves disks without a
// system; the same command starts over.
func (i *Installer) Install(ctx context.Context, staging string) error {
	i.Say("partitioning, formatting and mounting")
	if _, err := i.Run(ctx, "disko", "--mode", "destroy,format,mount", "--yes-wipe-all-disks",
		"--root-mountpoint", i.Root, "--flake", i.Flake()); err != nil {
		return fmt.Errorf("disko: %w", err)
	}
	if mounted, err := i.Run(ctx, "findmnt", "--noheadings", "--output", "TARGET", "--mountpoint", i.Root); err != nil || strings.TrimSpace(string(mounted)) == "" {
		return fmt.Errorf("disko ended well and nothing is mounted on %s", i.Root)
	}
	if err := copyTree(staging, i.Root); err != nil {
		return err
	}
	i.Say("installing the system")
	if _, err := i.Run(ctx, "nixos-install", "--root", i.Root, "--flake", i.Flake(),
		"--no-root-passwd", "--no-channel-copy"); err != nil {
		return fmt.Errorf("nixos-install: %w", err)
	}
	return nil
}

// Unmounted is an error when something is mounted already where the new system is
// going to be: an earlier run that was killed, or something of somebody's own.
func (i *Installer) Unmounted(ctx context.Context) error {
	out, err := i.Run(ctx, "findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", i.Root)
	if at := strings.TrimSpace(string(out)); err == nil && at != "" {
		return fmt.Errorf("%s is mounted on %s already", strings.Join(strings.Fields(at), " and "), i.Root)
	}
	return nil
}

// Leave gives the disks back after a failure, as far as it can: unmounted and without
// swap, so that the next run finds none of them in use.
func (i *Installer) Leave(ctx context.Context, devices []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	if i.Unmounted(ctx) != nil {
		if _, err := i.Run(ctx, "umount", "--recursive", i.Root); err != nil {
			i.Say("! %s is still mounted: %v", i.Root, err)
		}
	}
	for _, dev := range devices {
		b, err := i.block(ctx, dev)
		if err != nil {
			continue // it was there before; the next run says what is wrong
		}
		for _, swap := range b.swaps() {
			if _, err := i.Run(ctx, "swapoff", swap); err != nil {
				i.Say("! %s is still swapped to: %v", swap, err)
			}
		}
	}
}

// Finish unmounts the new root, so that all of it is on disk.
func (i *Installer) Finish(ctx context.Context) error {
	if _, err := i.Run(ctx, "sync"); err != nil {
		return err
	}
	_, err := i.Run(ctx, "umount", "--recursive", i.Root)
	return err
}

// copyTree copies files with their modes, as root's; directories that are there
// keep theirs.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			if err := os.Mkdir(dst, info.Mode().Perm()); err != nil {
				if errors.Is(err, os.ErrExist) {
					return nil
				}
				return err
			}
			return os.Chmod(dst, info.Mode().Perm()) // whatever the umask
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, raw, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Chmod(dst, info.Mode().Perm())
	})
}

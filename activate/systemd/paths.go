package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Paths says where the machine keeps what this package touches. The zero value
// of a field stands for the place on a NixOS machine.
type Paths struct {
	Run     string // results and decisions; /run/pullnode
	Current string // the link to the running system; /run/current-system
	Profile string // the link to what boots next; /nix/var/nix/profiles/system
	Nix     string // synced around each change of the profile; /nix
	Store   string // /nix/store
	BootID  string // /proc/sys/kernel/random/boot_id
	// Loader is the boot loader's directory, where a power cut may have left a
	// loader.tmp that makes every later "boot" fail; /boot/loader.
	Loader string
	// SwitchState is where switch-to-configuration keeps what it has yet to do;
	// /run/nixos.
	SwitchState string

	Pullnode  string // this binary when empty: guard and records are verbs of it
	Systemctl string // looked up in PATH when empty
	NixEnv    string // looked up in PATH when empty
}

func (p Paths) withDefaults() Paths {
	for _, f := range []struct {
		to  *string
		def string
	}{
		{&p.Run, "/run/pullnode"},
		{&p.Current, "/run/current-system"},
		{&p.Profile, "/nix/var/nix/profiles/system"},
		{&p.Nix, "/nix"},
		{&p.Store, "/nix/store"},
		{&p.BootID, "/proc/sys/kernel/random/boot_id"},
		{&p.Loader, "/boot/loader"},
		{&p.SwitchState, "/run/nixos"},
		{&p.Systemctl, "systemctl"},
		{&p.NixEnv, "nix-env"},
	} {
		if *f.to == "" {
			*f.to = f.def
		}
	}
	return p
}

// Settings is what New needs. Only SwitchMax has no default.
type Settings struct {
	Paths Paths
	// SwitchMax ends a switch that hangs: switch-to-configuration waits for
	// unit jobs without any timeout of its own.
	SwitchMax time.Duration
	// BootMax ends a boot loader installation that hangs; SwitchMax when zero.
	BootMax time.Duration
	// Handoff names the unit that must run while a switch or the guard does,
	// such as pullnode-handoff.service; empty when there is none.
	Handoff string
	// Hold names the unit that must run from before the switch until the try is
	// committed or its revert has ended, such as pullnode-hold.service; empty
	// when there is none.
	Hold string
	// Patience is how long a systemd that does not answer is asked again before
	// the truth counts as unknown; 15 s when zero. A daemon-reexec takes about
	// one second.
	Patience time.Duration
}

func (s Settings) check() (Settings, error) {
	s.Paths = s.Paths.withDefaults()
	if s.SwitchMax <= 0 {
		return s, errors.New("systemd: settings without a longest switch time")
	}
	if s.BootMax == 0 {
		s.BootMax = s.SwitchMax
	}
	if s.Patience == 0 {
		s.Patience = 15 * time.Second
	}
	// Links are followed now: while a switch is half done, /run/current-system
	// may lead to a broken systemctl, the resolved store path does not.
	if s.Paths.Pullnode == "" {
		self, err := os.Executable()
		if err != nil {
			return s, fmt.Errorf("systemd: %w", err)
		}
		s.Paths.Pullnode = self
	}
	for _, p := range []*string{&s.Paths.Pullnode, &s.Paths.Systemctl, &s.Paths.NixEnv} {
		abs, err := lookPath(*p, "")
		if err != nil {
			return s, fmt.Errorf("systemd: %w", err)
		}
		*p = abs
	}
	return s, nil
}

// validID keeps ids to what is the same in a unit name and in a file name.
func validID(id string) error {
	const ok = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if id == "" || len(id) > 64 || strings.Trim(id, ok) != "" {
		return fmt.Errorf("%.80q is no id of a run", id)
	}
	return nil
}

// resolve follows the link at path to the store path it stands for, and no
// further: what a toplevel contains is not this package's business.
func (p Paths) resolve(path string) (string, error) {
	first := path
	for range 16 {
		if filepath.Dir(path) == filepath.Clean(p.Store) {
			return path, nil
		}
		to, err := readlink(path)
		if err != nil {
			return "", err
		}
		path = to
	}
	return "", fmt.Errorf("%s leads through too many links", first)
}

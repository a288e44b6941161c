// Command stc stands in for NixOS' switch-to-configuration in the lab. It keeps
// the contract that pullnode depends on, written from that contract alone: the
// verbs, the order of the steps, the exit statuses and which units are touched.
//
//	stc <toplevel> check|switch|boot|test|dry-activate
//
// What it leaves out: user units, tmpfiles, specialisations, switch inhibitors.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Exit statuses of the contract.
const (
	exitRefused  = 1   // usage, not root, a pre-switch check or the boot loader
	exitActivate = 2   // the activation script failed
	exitUnits    = 4   // a unit failed; hides exitActivate
	exitBusy     = 11  // another one runs
	exitReboot   = 100 // the interface to init changed: only a reboot will do
)

// exit ends the run with a status of the contract.
type exit struct {
	status int
	err    error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

func fail(status int, format string, args ...any) error {
	return &exit{status, fmt.Errorf(format, args...)}
}

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "switch-to-configuration: error:", err)
	status := exitRefused
	if e := (*exit)(nil); errors.As(err, &e) {
		status = e.status
	}
	os.Exit(status)
}

func run(args []string) error {
	if len(args) != 2 || !known(args[1]) {
		return errors.New("usage: switch-to-configuration check|switch|boot|test|dry-activate")
	}
	if os.Geteuid() != 0 {
		return errors.New("must be run as root")
	}
	if _, err := os.Stat("/etc/NIXOS"); err != nil {
		return errors.New("this is no NixOS: /etc/NIXOS is missing")
	}
	if err := os.MkdirAll("/run/nixos", 0o755); err != nil {
		return err
	}
	unlock, err := lock("/run/nixos/switch-to-configuration.lock")
	if err != nil {
		return err
	}
	defer unlock()
	s := &switcher{
		verb: args[1], top: args[0], current: "/run/current-system",
		units: "/etc/systemd/system", newUnits: filepath.Join(args[0], "etc/systemd/system"),
		lists: listDir("/run/nixos"), pid1: systemctl{}, say: os.Stderr,
	}
	return s.run()
}

func known(verb string) bool {
	switch verb {
	case "check", "switch", "boot", "test", "dry-activate":
		return true
	}
	return false
}

// lock takes the lock without waiting. The descriptor is closed on exec, so no
// child keeps it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, fail(exitBusy, "%s: another one runs", path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// readText gives a small file's text; none at all is the empty text.
func readText(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(raw), err
}

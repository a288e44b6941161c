package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// switcher is one run.
type switcher struct {
	verb            string
	top, current    string // the new toplevel; the link to the running one
	units, newUnits string // where unit files are now, and in top
	lists           listDir
	pid1            manager
	say             io.Writer
}

func (s *switcher) run() error {
	if err := s.check(); err != nil || s.verb == "check" {
		return err
	}
	if s.verb == "switch" || s.verb == "boot" {
		// Before anything is tried, as NixOS does it: which is why pullnode
		// never says "switch".
		if err := s.script("install-bootloader"); err != nil {
			return fail(exitRefused, "install the boot loader: %w", err)
		}
	}
	if os.Getenv("NIXOS_NO_SYNC") != "1" {
		if err := syncfs("/nix/store"); err != nil {
			return err
		}
	}
	if s.verb == "boot" {
		return nil
	}
	if err := s.sameInit(); err != nil {
		return err
	}
	p, err := s.plan()
	if err != nil {
		return err
	}
	if s.verb == "dry-activate" {
		fmt.Fprintf(s.say, "would stop: %s\nwould reload: %s\nwould restart: %s\nwould start: %s\n",
			strings.Join(p.stop.sorted(), " "), strings.Join(p.reload.sorted(), " "),
			strings.Join(p.restart.sorted(), " "), strings.Join(p.start.sorted(), " "))
		return s.script("dry-activate")
	}
	return s.activate(p)
}

func (s *switcher) check() error {
	if os.Getenv("NIXOS_NO_CHECK") == "1" {
		return nil
	}
	err := s.script("pre-switch-checks", s.verb)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(exitRefused, "pre-switch checks: %w", err)
	}
	return nil
}

func (s *switcher) sameInit() error {
	was, err := readText(filepath.Join(s.current, "init-interface-version"))
	if err != nil {
		return err
	}
	is, err := readText(filepath.Join(s.top, "init-interface-version"))
	if err != nil {
		return err
	}
	if was != "" && was != is {
		return fail(exitReboot, "init's interface changes from %q to %q: reboot", was, is)
	}
	return nil
}

func (s *switcher) plan() (*plan, error) {
	units, err := s.pid1.units()
	if err != nil {
		return nil, err
	}
	p := newPlan()
	if err := s.lists.load(p); err != nil {
		return nil, err
	}
	reader := &planner{
		dir:     s.units,
		old:     func(n string) (unit, error) { return load(s.units, n) },
		new:     func(n string) (unit, error) { return load(s.newUnits, n) },
		targets: s.hangs,
	}
	if err := reader.make(units, p); err != nil {
		return nil, err
	}
	p.settle(func(n string) bool { return reader.has(n) || s.hangs(n) })
	return p, nil
}

// hangs reports whether the new system hangs units on the target name.
func (s *switcher) hangs(name string) bool {
	for _, suffix := range []string{".wants", ".requires"} {
		if _, err := os.Stat(filepath.Join(s.newUnits, name+suffix)); err == nil {
			return true
		}
	}
	return false
}

// activate does what cannot be taken back. The lists are on disk before the
// first unit is stopped, so that a run that is killed can be made good.
func (s *switcher) activate(p *plan) error {
	result := error(nil)
	if err := s.lists.save(p); err != nil {
		return err
	}
	s.pid1.do("stop", p.stop.sorted())
	wasConf, err := readText("/etc/systemd/system.conf")
	if err != nil {
		return err
	}
	if err := s.script("activate"); err != nil {
		result = fail(exitActivate, "activate: %w", err)
	}
	conf, err := readText("/etc/systemd/system.conf")
	if err != nil {
		return err
	}
	verbs := []string{"reset-failed", "daemon-reload"}
	if conf != wasConf {
		verbs = append([]string{"daemon-reexec"}, verbs...)
	}
	for _, v := range verbs {
		if err := s.pid1.manage(v); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		verb string
		set  set
	}{{"reload", p.reload}, {"restart", p.restart}, {"start", p.start}} {
		s.pid1.do(step.verb, step.set.sorted())
		if err := s.lists.done(step.verb); err != nil {
			return err
		}
	}
	units, err := s.pid1.units()
	if err != nil {
		return err
	}
	bad := set{}
	for name, u := range units {
		if u.failed() {
			bad.add(name)
		}
	}
	if len(bad) > 0 {
		return fail(exitUnits, "units failed: %s", strings.Join(bad.sorted(), " "))
	}
	return result
}

// script runs one of the new toplevel's programs on that toplevel.
func (s *switcher) script(name string, args ...string) error {
	path := filepath.Join(s.top, name)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	cmd := exec.Command(path, append([]string{s.top}, args...)...)
	cmd.Stdout, cmd.Stderr = s.say, s.say
	return cmd.Run()
}

func syncfs(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the filesystem of %s: %w", dir, err)
	}
	return nil
}

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

type set map[string]bool

func (s set) add(names ...string) {
	for _, n := range names {
		s[n] = true
	}
}

func (s set) sorted() []string {
	names := make([]string, 0, len(s))
	for n := range s {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// listDir keeps what is still to do, so that the run after an interrupted one
// does it, also when it is a run of another system.
type listDir string

func (d listDir) path(name string) string { return filepath.Join(string(d), name+"-list") }

func (d listDir) each(p *plan, f func(name string, s set) error) error {
	return errors.Join(f("start", p.start), f("restart", p.restart), f("reload", p.reload))
}

// load adds what an interrupted run left.
func (d listDir) load(p *plan) error {
	return d.each(p, func(name string, s set) error {
		raw, err := os.ReadFile(d.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		s.add(strings.Fields(string(raw))...)
		return err
	})
}

func (d listDir) save(p *plan) error {
	return d.each(p, func(name string, s set) error {
		text := strings.Join(s.sorted(), "\n") + "\n"
		tmp := d.path(name) + ".tmp"
		if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
			return err
		}
		return os.Rename(tmp, d.path(name))
	})
}

// done says that one list needs no replay.
func (d listDir) done(name string) error {
	err := os.Remove(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

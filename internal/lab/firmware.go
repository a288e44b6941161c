package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// OneShot makes the next boot, and only that, boot the entry id, such as
// nixos-generation-2: what bootctl set-oneshot does on a machine with EFI.
func (h *Host) OneShot(id string) error {
	return h.Write("/boot/loader/oneshot", []byte(id+"\n"))
}

// BootDefault gives the toplevel that the boot loader boots by default.
func (h *Host) BootDefault() (string, error) {
	id, err := h.defaultID()
	if err != nil {
		return "", err
	}
	all, err := h.entries()
	if err != nil {
		return "", err
	}
	for _, e := range all {
		if e.id == id {
			return e.toplevel(h)
		}
	}
	return "", fmt.Errorf("%s: the default entry %s is missing", h.Name, id)
}

func (h *Host) defaultID() (string, error) {
	raw, err := h.Read("/boot/loader/loader.conf")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "default" {
			return strings.TrimSuffix(f[1], ".conf"), nil
		}
	}
	return "", fmt.Errorf("%s: loader.conf names no default", h.Name)
}

// pick chooses what to boot and gives the command of PID 1. It is firmware and
// systemd-boot: the one-shot entry, which is forgotten at once; the default; the
// newest entry. Entries whose tries are used up come last of all. A machine
// whose boot loader was never installed boots Debian's own systemd.
func (h *Host) pick() ([]string, error) {
	all, err := h.entries()
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(all) == 0 {
		return []string{"/usr/lib/systemd/systemd"}, nil
	}
	if err != nil {
		return nil, err
	}
	first := ""
	if raw, err := h.Read("/boot/loader/oneshot"); err == nil {
		first = strings.TrimSpace(string(raw))
		p, err := h.locate("/boot/loader/oneshot")
		if err == nil {
			err = os.Remove(p)
		}
		if err != nil {
			return nil, err
		}
	}
	def, err := h.defaultID()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	rank := func(e entry) int {
		switch {
		case e.counted && e.left == 0:
			return 3
		case e.id == first:
			return 0
		case e.id == def:
			return 1
		}
		return 2
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := rank(all[i]), rank(all[j])
		return a < b || a == b && all[i].number > all[j].number
	})
	e := all[0]
	if err := e.count(); err != nil {
		return nil, err
	}
	top, err := e.toplevel(h)
	if err != nil {
		return nil, err
	}
	return []string{top + "/init"}, nil
}

// entry is a file of the Boot Loader Specification, with the tries that
// systemd-boot counts in its name: <id>+<left>-<done>.conf.
type entry struct {
	path, id   string
	number     int
	counted    bool
	left, done int
}

var entryName = regexp.MustCompile(`^(nixos-generation-([0-9]+))(?:\+([0-9]+)(?:-([0-9]+))?)?\.conf$`)

func parseEntry(name string) (entry, bool) {
	m := entryName.FindStringSubmatch(name)
	if m == nil {
		return entry{}, false
	}
	e := entry{id: m[1], counted: m[3] != ""}
	e.number, _ = strconv.Atoi(m[2])
	e.left, _ = strconv.Atoi(m[3])
	e.done, _ = strconv.Atoi(m[4])
	return e, true
}

func (h *Host) entries() ([]entry, error) {
	dir, err := h.locate("/boot/loader/entries")
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range files {
		if e, ok := parseEntry(f.Name()); ok {
			e.path = filepath.Join(dir, f.Name())
			all = append(all, e)
		}
	}
	return all, nil
}

// count takes one try from the entry, before it is booted.
func (e *entry) count() error {
	if !e.counted || e.left == 0 {
		return nil
	}
	to := filepath.Join(filepath.Dir(e.path), fmt.Sprintf("%s+%d-%d.conf", e.id, e.left-1, e.done+1))
	err := os.Rename(e.path, to)
	e.path = to
	return err
}

// toplevel reads the entry's init= argument.
func (e *entry) toplevel(h *Host) (string, error) {
	raw, err := os.ReadFile(e.path)
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(string(raw)) {
		if top, ok := strings.CutPrefix(word, "init="); ok {
			return strings.TrimSuffix(top, "/init"), nil
		}
	}
	return "", fmt.Errorf("%s: %s has no init=", h.Name, e.path)
}

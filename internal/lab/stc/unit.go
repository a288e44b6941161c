package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// unit is a unit file with its drop-ins: section -> key -> values in order.
type unit map[string]map[string][]string

// parse adds a unit file's text to u: systemd.syntax(7). A later file's empty
// value resets what earlier ones set, as systemd does for lists.
func (u unit) parse(text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok {
				continue // systemd ignores it too, with a warning
			}
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if u[section] == nil {
				u[section] = map[string][]string{}
			}
			if value == "" {
				delete(u[section], key)
			} else {
				u[section][key] = append(u[section][key], value)
			}
		}
	}
}

// load reads the unit name from dir, with its drop-ins. An instance that has no
// file of its own is its template. A unit that is not there, or masked, is nil.
func load(dir, name string) (unit, error) {
	file := name
	raw, err := os.ReadFile(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) && template(name) != "" {
		file = template(name)
		raw, err = os.ReadFile(filepath.Join(dir, file))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if to, _ := filepath.EvalSymlinks(filepath.Join(dir, file)); to == "/dev/null" {
		return nil, nil
	}
	u := unit{}
	u.parse(string(raw))
	for _, n := range slices.Compact([]string{file, name}) {
		drops, err := filepath.Glob(filepath.Join(dir, n+".d", "*.conf"))
		if err != nil {
			return nil, err
		}
		sort.Strings(drops)
		for _, d := range drops {
			raw, err := os.ReadFile(d)
			if err != nil {
				return nil, err
			}
			u.parse(string(raw))
		}
	}
	return u, nil
}

// template gives foo@.service for foo@bar.service, and nothing for a unit that
// is no instance.
func template(name string) string {
	at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.')
	if at < 0 || dot < at+2 {
		return ""
	}
	return name[:at+1] + name[dot:]
}

// flag reads a switch such as X-StopIfChanged. NixOS writes some of them to
// [Unit] and some to the unit's own section, which differs over releases, so
// every section counts.
func (u unit) flag(key string, def bool) bool {
	for _, section := range u {
		if v := section[key]; len(v) > 0 {
			if b, ok := systemdBool(v[len(v)-1]); ok {
				return b
			}
		}
	}
	return def
}

func systemdBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "on", "y":
		return true, true
	case "no", "off", "n":
		return false, true
	}
	b, err := strconv.ParseBool(strings.ToLower(s))
	return b, err == nil
}

type change int

const (
	same change = iota
	reloadable
	changed
)

// compare says what differs. Texts for people and [Install] do not count;
// triggers of a reload and a mount's options ask for a reload only.
func compare(was, is unit) change {
	result := same
	for _, section := range keysOf(was, is) {
		if section == "Install" {
			continue
		}
		for _, key := range keysOf(was[section], is[section]) {
			if slices.Equal(was[section][key], is[section][key]) {
				continue
			}
			switch {
			case section == "Unit" && (key == "Description" || key == "Documentation"):
			case key == "X-Reload-Triggers", section == "Mount" && key == "Options":
				result = max(result, reloadable)
			default:
				return changed
			}
		}
	}
	return result
}

// keysOf gives the keys of both maps, each once.
func keysOf[V any](a, b map[string]V) []string {
	var all []string
	for k := range a {
		all = append(all, k)
	}
	for k := range b {
		if _, twice := a[k]; !twice {
			all = append(all, k)
		}
	}
	sort.Strings(all)
	return all
}

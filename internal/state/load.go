package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// takeover is added to the counter when the floor alone is left: the state that
// was lost had a higher counter than the floor, and a restored backup of it must
// not look younger than what is written from here on.
const takeover = 1 << 32

// floor is the body of the floor file.
type floor struct {
	Trusted Trusted           `json:"trusted"`
	Origins map[string]Origin `json:"origins,omitempty"`
}

// file is one of the three files as it was found.
type file struct {
	path    string
	missing bool
	damage  error // why the content is no use
	env     envelope
}

func (f file) ok() bool { return !f.missing && f.damage == nil }

// found is all that was found, before anything is changed on disk.
type found struct {
	state  State
	files  [3]file // state.json, state.json.prev, floor.json
	schema int     // of the files, 0 when there are none
	fresh  bool    // nothing was ever here
	dirty  bool    // the files are not what a write of state would leave
	alerts []string
	err    error // ErrUnreadable or ErrNewerSchema: state is not to be written
}

func (c Config) statePath() string { return filepath.Join(c.Dir, "state.json") }
func (c Config) prevPath() string  { return c.statePath() + ".prev" }

// read gives one file. Only an error that says nothing about the content, such
// as too many open files, is returned as one.
func read(path string) (f file, err error) {
	f.path = path
	fd, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.missing = true
		return f, nil
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ENXIO):
		f.damage = err
		return f, nil
	case err != nil:
		return f, err
	}
	defer fd.Close()
	if info, err := fd.Stat(); err != nil {
		return f, err
	} else if !info.Mode().IsRegular() {
		f.damage = errors.New("not a regular file")
		return f, nil
	}
	raw, err := io.ReadAll(io.LimitReader(fd, sizeLimit+1))
	if err == nil {
		f.env, err = open(raw)
	}
	f.damage = err
	return f, nil
}

// load reads and judges the files; it changes nothing.
func (c Config) load() (found, error) {
	var d found
	for i, path := range []string{c.statePath(), c.prevPath(), c.FloorPath} {
		f, err := read(path)
		if err != nil {
			return d, err
		}
		// A body that its schema cannot hold is damage like any other.
		if cd, known := c.codecs[f.env.Schema]; f.ok() && known {
			if i == 2 {
				f.damage = cd.decode(f.env.Body, &floor{})
			} else {
				f.damage = cd.decode(f.env.Body, &State{})
			}
		}
		d.files[i] = f
		if f.damage != nil {
			d.dirty = true
			d.alerts = append(d.alerts, fmt.Sprintf("%s is damaged: %v", path, f.damage))
		}
	}
	gen, flr := &d.files[0], &d.files[2]
	if prev := &d.files[1]; prev.ok() && (!gen.ok() || prev.env.Counter > gen.env.Counter) {
		gen = prev
	}
	switch {
	case !gen.ok() && !flr.ok():
		return c.nothing(d), nil
	case c.newer(&d, gen), c.newer(&d, flr):
		// Best effort, so that what is in flight can be reverted.
		if gen.ok() {
			_ = json.Unmarshal(gen.env.Body, &d.state)
			d.state.Schema, d.state.Counter = gen.env.Schema, gen.env.Counter
		}
		return d, nil
	}
	if err := c.join(&d, gen, flr); err != nil {
		return d, err
	}
	d.alerts = append(d.alerts, dropFarTimes(&d.state, c.Now())...)
	return d, nil
}

// join makes the state of a generation and the floor, either of which may be no
// use: the younger of both says what is trusted.
func (c Config) join(d *found, gen, flr *file) error {
	var fl floor
	if flr.ok() {
		d.schema = flr.env.Schema
		if err := c.codecs[flr.env.Schema].decode(flr.env.Body, &fl); err != nil {
			return err
		}
	}
	if !gen.ok() {
		d.dirty = true
		d.state = State{Counter: flr.env.Counter + takeover, Trusted: fl.Trusted, Origins: fl.Origins}
		d.state.Request = d.state.Counter // every request was a write, so this is higher than all
		d.alerts = append(d.alerts, fmt.Sprintf("no state in %s: what is trusted was taken from %s", c.Dir, flr.path))
	} else {
		d.schema = gen.env.Schema
		if err := c.codecs[gen.env.Schema].decode(gen.env.Body, &d.state); err != nil {
			return err
		}
		d.state.Counter = gen.env.Counter
		if gen.path != c.statePath() {
			d.dirty = true
			d.state.Request++ // the generation that is gone may have asked once more
			d.alerts = append(d.alerts, fmt.Sprintf("state was taken from its previous generation %s", gen.path))
		}
		switch {
		case flr.ok() && flr.env.Counter > gen.env.Counter:
			d.state.Trusted, d.state.Origins = fl.Trusted, fl.Origins
			d.state.Counter, d.dirty = flr.env.Counter, true
		case !flr.ok() || !d.state.sameFloor(State{Trusted: fl.Trusted, Origins: fl.Origins}):
			d.dirty = true
		}
	}
	d.state.Schema = d.schema
	return nil
}

func (c Config) newer(d *found, f *file) bool {
	if !f.ok() || f.env.Schema <= c.codecs.newest() {
		return false
	}
	d.err = &NewerSchemaError{Path: f.path, Found: f.env.Schema, Known: c.codecs.newest()}
	return true
}

// nothing judges a directory without one readable file. Files that were moved
// away earlier count: a restart must not turn lost trust into a first run.
func (c Config) nothing(d found) found {
	was := slices.ContainsFunc(d.files[:], func(f file) bool { return f.damage != nil })
	for _, path := range []string{c.statePath(), c.prevPath(), c.FloorPath} {
		if _, n := brokenName(path); n > 1 {
			was = true
		}
	}
	switch {
	case !was:
		d.fresh = true
	default:
		d.err = fmt.Errorf("%w in %s or %s", ErrUnreadable, c.Dir, c.FloorPath)
	}
	return d
}

// brokenName gives the first free name to move a damaged file to, and its
// number, which counts from 1.
func brokenName(path string) (string, int) {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.broken.%d", path, n)
		if _, err := os.Lstat(name); err != nil {
			return name, n
		}
	}
}

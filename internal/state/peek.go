package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Peek reads the state without a lock and without changing anything, for
// commands that must work with the agent dead or alive. Errors as Open, without
// ErrLocked; alerts as Store.Alerts.
func Peek(c Config) (s State, alerts []string, err error) {
	d, err := c.withDefaults().load()
	if err != nil {
		return s, nil, err
	}
	return d.state, d.alerts, d.err
}

// PeekFloor reads what the floor file says is trusted, like Peek. Errors:
// fs.ErrNotExist, ErrNewerSchema, what is wrong with a damaged file, those of the
// file system.
func PeekFloor(path string) (Trusted, error) {
	f, err := read(path)
	switch {
	case err != nil:
		return Trusted{}, err
	case f.missing:
		return Trusted{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case f.damage != nil:
		return Trusted{}, f.damage
	}
	cd, known := builtin[f.env.Schema]
	if !known {
		return Trusted{}, &NewerSchemaError{Path: path, Found: f.env.Schema, Known: Schema}
	}
	var fl floor
	err = cd.decode(f.env.Body, &fl)
	return fl.Trusted, err
}

// Held says whether a process has the directory open for writing: the agent runs.
// A missing directory is not held.
func Held(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	// Shared and at once given back: an agent that starts right now waits for
	// its restart at worst.
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return true, nil
	default:
		return false, err
	}
}

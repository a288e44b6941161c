package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// claim makes a machine's directory and a lock in it that says whose process
// still lives. First it removes machines whose process does not.
func claim(ctx context.Context) (dir string, release func(), err error) {
	if err := os.MkdirAll(CacheDir(), 0o755); err != nil {
		return "", nil, err
	}
	// So that nobody sweeps a directory whose lock is not taken yet.
	unlock, err := lockFile(ctx, filepath.Join(CacheDir(), "machines.lock"))
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	if err := sweep(); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp("", "pullnode-lab-"); err != nil {
		return "", nil, err
	}
	release, err = lockFile(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, release, nil
}

// sweep removes what machines left whose test was killed. Their processes died
// with the test.
func sweep() error {
	locks, err := filepath.Glob(filepath.Join(os.TempDir(), "pullnode-lab-*", "lock"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range locks {
		f, err := os.Open(path)
		if err != nil {
			continue // it has just been closed
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			errs = append(errs, remove(filepath.Dir(path)))
		}
		f.Close()
	}
	return errors.Join(errs...)
}

func remove(dir string) error {
	var errs []error
	if raw, err := os.ReadFile(filepath.Join(dir, "network")); err == nil {
		if name, cable, ok := strings.Cut(string(raw), " "); ok {
			errs = append(errs, (&network{name: name, cable: cable}).close())
		}
	}
	g, err := findCgroup(filepath.Base(dir))
	if err == nil {
		err = errors.Join(g.kill(), g.close())
	}
	return errors.Join(append(errs, err, removeRoot(dir))...)
}

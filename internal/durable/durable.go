// Package durable writes files that are still there, whole, after a power cut.
//
// A plain rename is atomic but not durable: after a power cut the old file, or
// none, may be found. Here the file is synced before the rename and the
// directory after it. It does not lock; one writer per file is the caller's job.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by data with mode perm. When it returns
// nil the new content survives a power cut; when it returns an error the old
// content is still there, whole.
func WriteFile(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(write(f, data, perm), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

func write(f *os.File, data []byte, perm os.FileMode) error {
	// Chmod, because CreateTemp's 0600 is further cut by no umask but may be
	// narrower than what a reader of the file needs.
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// Append adds data to the end of the file at path, creating it with mode perm.
// A crash may leave a part of data behind; readers skip a torn last line.
func Append(path string, data []byte, perm os.FileMode) error {
	_, statErr := os.Lstat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
	if err != nil {
		return err
	}
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	if os.IsNotExist(statErr) {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// CreateExclusive makes path with data, or fails with an error for which
// os.IsExist is true when something is already there. The content is complete
// the moment the name appears: whoever loses the race reads the whole decision
// of the winner, never an empty file.
func CreateExclusive(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f, data, perm), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

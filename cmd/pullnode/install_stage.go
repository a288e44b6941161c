package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// stage gathers what the new root gets beside the system.
func (i *installer) stage() error {
	i.staging = filepath.Join(i.work, "root")
	if i.extra != "" {
		if err := os.CopyFS(i.staging, os.DirFS(i.extra)); err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
		// CopyFS gives every file all rights of its own user's; keep the modes.
		err := filepath.WalkDir(i.extra, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(i.extra, path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if rel == "." {
				return os.Chmod(i.staging, 0o755) // it is the root of a system
			}
			return os.Chmod(filepath.Join(i.staging, rel), info.Mode().Perm())
		})
		if err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
	}
	file := i.hostKey
	if _, err := os.Stat(filepath.Join(i.staging, newHostKey)); err == nil {
		if file != "" {
			return usageError("--host-key and %s in --extra-files both say which host key the machine gets; give one", newHostKey)
		}
		file = filepath.Join(i.extra, newHostKey)
	}
	i.generated = file == ""
	key, err := readHostKey(file, i.Host)
	if err != nil {
		return err
	}
	i.newKey = key.public
	return key.write(i.staging)
}

// makeDirs makes directories below root that everybody may enter, whatever the
// umask: what lies there goes over a new system with its modes.
func makeDirs(root, path string) error {
	at := root
	for _, name := range append([]string{"."}, strings.Split(strings.Trim(path, "/"), "/")...) {
		at = filepath.Join(at, name)
		switch err := os.Mkdir(at, 0o755); {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return err
		}
		if err := os.Chmod(at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// keepKey saves a new host key for which secrets may have been encrypted already,
// when the installation did not come to its end.
func (i *installer) keepKey(failed error) error {
	if failed == nil || !i.recipientPrinted {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(i.staging, newHostKey))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", i.Host+"-host-key-") // 0600
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(raw); err != nil {
		return err
	}
	i.Say("the new host key is in %s; go on with --host-key %s, or delete it", f.Name(), f.Name())
	return f.Sync()
}

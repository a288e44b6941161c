package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeRoot gives a writable version of base below dir: an overlay where the
// kernel and dir's file system allow it, else a copy.
func makeRoot(ctx context.Context, base, dir string) (string, error) {
	root := filepath.Join(dir, "root")
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir)
	if err := unix.Mount("overlay", root, "overlay", 0, data); err == nil {
		return root, nil
	}
	if err := os.Remove(root); err != nil {
		return "", err
	}
	return root, command(ctx, "cp", "-a", "--reflink=auto", base, root)
}

// removeRoot unmounts what makeRoot mounted and removes dir, with what a
// systemd-nspawn that was killed left of its own.
func removeRoot(dir string) error {
	left := []string{filepath.Join("/run/systemd/nspawn/propagate", filepath.Base(dir))}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(dir, "root"), &st) == nil {
		left = append(left, fmt.Sprintf("/run/systemd/nspawn/locks/inode-%d:%d", st.Dev, st.Ino))
	}
	for _, p := range left {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err := unix.Unmount(filepath.Join(dir, "root"), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // EINVAL: a copy, not mounted
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

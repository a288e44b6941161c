package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const storeDir = "/nix/store"

// checkPath refuses, when the settings are read, a path that can only be wrong.
func checkPath(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("path: is missing")
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("path: %q is not absolute", path)
	case inStore(filepath.Clean(path)):
		return "", fmt.Errorf("path: %q is in the Nix store, which every user of the machine and every cache can read; treat that key as leaked", path)
	}
	return filepath.Clean(path), nil
}

func inStore(path string) bool {
	return path == storeDir || strings.HasPrefix(path, storeDir+"/")
}

// readPrivate reads the file at path, which must be a regular file of root or
// of this process's user, not a symbolic link, not in the Nix store, not over
// keyLimit and have none of the mode bits in forbid. A path that does not exist
// wraps ErrAbsent.
func readPrivate(ctx context.Context, path string, forbid fs.FileMode) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// O_NONBLOCK: whoever can put a pipe there must not hang the process.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%w: no such file", ErrAbsent)
	case errors.Is(err, unix.ELOOP):
		return nil, errors.New("is a symbolic link, name the file itself")
	case err != nil:
		return nil, fmt.Errorf("open: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := checkPrivate(f, forbid); err != nil {
		return nil, err
	}
	raw, err := readSecret(f)
	if err != nil {
		clear(raw)
		return nil, err
	}
	return raw, nil
}

// checkPrivate judges the open file, not its name: nothing can be swapped in
// between.
func checkPrivate(f *os.File, forbid fs.FileMode) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	mode := fs.FileMode(st.Mode & 0o777)
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("is not a regular file")
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("belongs to user %d, want root or user %d", st.Uid, os.Geteuid())
	case mode&forbid != 0:
		return fmt.Errorf("has mode %#o, so others than its owner can get at it; chmod %#o it, and think about whether the key has leaked", mode, mode&^forbid)
	case st.Size > keyLimit:
		return fmt.Errorf("is over %d bytes", keyLimit)
	}
	// A directory on the way may be a link into the store (/etc/static is).
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return fmt.Errorf("find out where it really is: %w", err)
	}
	if inStore(real) {
		return fmt.Errorf("is really %s, in the Nix store, which every user of the machine can read; treat that key as leaked", real)
	}
	return nil
}

package keysrc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where a Handoff is and what it cleans up on a NixOS host.
const (
	HandoffDir  = "/run/pullnode-handoff"
	HandoffFile = "age.key" // the file's name in the directory
)

// SopsNixCopies are the copies of the identity file that sops-nix makes and
// never removes.
var SopsNixCopies = []string{"/run/secrets.d/age-keys.txt", "/run/secrets-for-users.d/age-keys.txt"}

// handoffSource is the name of the mount, by which Remove knows its own.
const handoffSource = "pullnode-handoff"

// Handoff puts the identity into a file, for programs that cannot ask the
// agent, and takes it away again. The file is on a ramfs, which is never
// swapped or written to a disk and which a power cut clears.
//
// It must run as root, in the mount namespace of the programs that read the
// file: a mount made in a sandboxed unit is not seen outside. One process uses
// it at a time.
type Handoff struct {
	// Dir is the mount point, absolute, in a directory that only root can
	// write. It is made, and removed again.
	Dir string
	// Copies are files that the programs leave behind and Remove removes.
	Copies []string
}

// Path gives the file's path.
func (h Handoff) Path() string { return filepath.Join(h.Dir, HandoffFile) }

// Start removes what an earlier run left and writes the key, readable by root
// alone. When it fails, nothing of the key is left.
func (h Handoff) Start(k *Key) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("hand over the key: %w", errors.Join(err, h.Remove()))
		}
	}()
	if err := h.check(); err != nil {
		return err
	}
	if err := h.Remove(); err != nil {
		return err
	}
	if err := os.Mkdir(h.Dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(handoffSource, h.Dir, "ramfs", unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOSUID, "mode=0700"); err != nil {
		return fmt.Errorf("mount a ramfs at %s: %w", h.Dir, err)
	}
	// Through the mount's own directory: if the name led elsewhere by now, the
	// key would land on a disk.
	root, err := os.OpenRoot(h.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := onRamfs(root); err != nil {
		return err
	}
	f, err := root.OpenFile(HandoffFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o400), k.writeTo(f), f.Close())
}

func onRamfs(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return err
	}
	if st.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is not on a ramfs", root.Name())
	}
	return nil
}

func (h Handoff) check() error {
	if !filepath.IsAbs(h.Dir) || filepath.Clean(h.Dir) != h.Dir || filepath.Dir(h.Dir) == "/" {
		return fmt.Errorf("%q cannot be a hand-over directory", h.Dir)
	}
	return nil
}

// Remove takes the file away, wherever Start or an earlier Remove stopped: it
// overwrites and unlinks the file, unmounts every ramfs that Start put there,
// also while programs use it, removes the directory, and removes the copies.
// It does all of it even when a part fails, may be called at any time, and
// gives nil only when it has seen that nothing is left.
func (h Handoff) Remove() error {
	if err := h.check(); err != nil {
		return err
	}
	// A program that holds the file open reads zeros from then on.
	err := erase(h.Path())
	for range 64 { // mounts on top of one another
		mounted, merr := mountedAt(h.Dir)
		if merr != nil || !mounted {
			err = errors.Join(err, merr)
			break
		}
		if uerr := unix.Unmount(h.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); uerr != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", h.Dir, uerr))
			break
		}
		err = errors.Join(err, erase(h.Path()))
	}
	if rerr := os.Remove(h.Dir); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	for _, path := range h.Copies {
		err = errors.Join(err, erase(path))
	}
	if err != nil {
		return fmt.Errorf("take the key away: %w", err)
	}
	return nil
}

// erase overwrites the file at path and unlinks it; a missing file is fine. A
// symbolic link is unlinked and what it names is left alone.
func erase(path string) error {
	zeroErr := zero(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return errors.Join(err, zeroErr)
	}
	// Gone is what counts: the pages of a ramfs go with the last opener.
	return nil
}

func zero(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return err
	}
	_, err = f.WriteAt(make([]byte, min(st.Size(), 2*keyLimit)), 0)
	return err
}

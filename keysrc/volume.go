package keysrc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// volume is a file system on a block device, as its superblock describes it.
type volume struct {
	dev         string // like /dev/sdb1
	fs          string // as fsopen(2) names it
	label, uuid string // uuid in lower case, without dashes
}

// probeBytes holds the superblocks of the file systems that are known.
const probeBytes = 0x500

var errUnknownFS = errors.New("no file system that is known")

// probe reads the superblock of a block device.
func probe(dev string) (volume, error) {
	fd, err := unix.Open(dev, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return volume{}, err
	}
	f := os.NewFile(uintptr(fd), dev)
	defer f.Close()
	b := make([]byte, probeBytes)
	if _, err := io.ReadFull(f, b); err != nil {
		return volume{}, errUnknownFS
	}
	v, err := superblock(b)
	v.dev = dev
	return v, err
}

// superblock knows ext2 to ext4 (the kernel's fs/ext4/ext4.h) and FAT (Microsoft's
// fatgen103): what sticks have that are made for this.
func superblock(b []byte) (volume, error) {
	text := func(from, to int) string {
		return strings.TrimRight(string(bytes.TrimRight(b[from:to], "\x00")), " ")
	}
	serial := func(at int) string { return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(b[at:])) }
	// The label in the boot sector is what mkfs.fat -n writes; one that was
	// given later may be in the root directory alone.
	switch {
	case binary.LittleEndian.Uint16(b[0x438:]) == 0xEF53:
		return volume{fs: "ext4", label: text(0x478, 0x488), uuid: hex.EncodeToString(b[0x468:0x478])}, nil
	case string(b[0x52:0x57]) == "FAT32" && b[0x1fe] == 0x55 && b[0x1ff] == 0xaa:
		return volume{fs: "vfat", label: text(0x47, 0x52), uuid: serial(0x43)}, nil
	case string(b[0x36:0x39]) == "FAT" && b[0x1fe] == 0x55 && b[0x1ff] == 0xaa:
		return volume{fs: "vfat", label: text(0x2b, 0x36), uuid: serial(0x27)}, nil
	}
	return volume{}, errUnknownFS
}

// read gives a regular file of the volume, at most keyLimit bytes. The volume is
// mounted without a place in the file tree, where no other process sees it, and
// nothing is written to it, not even a journal that a pulled stick left open. It
// is gone when this returns. No symbolic link on it is followed.
func (v volume) read(name string) ([]byte, error) {
	mnt, err := v.mount()
	if err != nil {
		return nil, err
	}
	defer unix.Close(mnt)
	// Not openat2, which the unit's RestrictSUIDSGID= takes away. Nothing leads out:
	// the mount follows no link, has none below it, and the name has no "..".
	fd, err := unix.Openat(mnt, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s: is or passes a symbolic link", name)
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%s: there is no such file on the stick", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	switch st, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", name)
	case st.Size() > keyLimit:
		return nil, fmt.Errorf("%s: is over %d bytes", name, keyLimit)
	}
	raw, err := readSecret(f)
	if err != nil {
		clear(raw)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// mount gives the root of the detached mount; closing it is unmounting.
func (v volume) mount() (int, error) {
	ctx, err := unix.Fsopen(v.fs, unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return -1, fmt.Errorf("this kernel cannot read %s: load its module at boot, or make the stick ext4", v.fs)
	}
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", v.fs, err)
	}
	defer unix.Close(ctx)
	opts := [][2]string{{"source", v.dev}, {"ro", ""}}
	if v.fs == "ext4" {
		opts = append(opts, [2]string{"noload", ""})
	}
	for _, o := range opts {
		if o[1] == "" {
			err = unix.FsconfigSetFlag(ctx, o[0])
		} else {
			err = unix.FsconfigSetString(ctx, o[0], o[1])
		}
		if err != nil {
			return -1, fmt.Errorf("mount %s, option %s: %w", v.fs, o[0], err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("mount %s: %w; the file system may be damaged", v.fs, err)
	}
	mnt, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|
		unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOATIME|unix.MOUNT_ATTR_NOSYMFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", v.fs, err)
	}
	return mnt, nil
}

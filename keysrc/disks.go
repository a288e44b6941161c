package keysrc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// disks is where block devices are found.
type disks struct {
	sys string // like /sys
	dev string // like /dev
}

var systemDisks = disks{sys: "/sys", dev: "/dev"}

// find gives the volumes on disks that can be pulled out which fit, and the
// device of one that fits and cannot be, or "".
func (d disks) find(fits func(volume) bool) (found []volume, inside string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.sys, "class/block"))
	if err != nil {
		return nil, "", err
	}
	for _, e := range entries {
		// A stick that is being pulled out fails here; it is gone then.
		v, err := probe(filepath.Join(d.dev, e.Name()))
		if err != nil || !fits(v) {
			continue
		}
		if d.removable(e.Name()) {
			found = append(found, v)
		} else {
			inside = v.dev
		}
	}
	return found, inside, nil
}

// removable tells whether the device hangs on USB, or says of itself that its
// medium can be taken out. Internal disks do not count: a key on
// one would be a file, and does not go when the stick is pulled.
func (d disks) removable(name string) bool {
	real, err := filepath.EvalSymlinks(filepath.Join(d.sys, "class/block", name))
	if err != nil {
		return false
	}
	for part := range strings.SplitSeq(real, "/") {
		if bus := strings.TrimRight(part, "0123456789"); bus == "usb" {
			return true
		}
	}
	for _, dir := range []string{real, filepath.Dir(real)} { // of the disk, for a partition
		flag, err := os.ReadFile(filepath.Join(dir, "removable"))
		if err == nil {
			return strings.TrimSpace(string(flag)) == "1"
		}
	}
	return false
}

// watch gives a function that waits until the kernel tells of a block device, at
// most for the time given: its uevents come without udev.
func (disks) watch() (wait func(context.Context, time.Duration), stop func(), err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, nil, err
	}
	const fromKernel = 1
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	wait = func(ctx context.Context, limit time.Duration) {
		for end := time.Now().Add(limit); ctx.Err() == nil && time.Now().Before(end); {
			// In short steps, to hear when ctx is done.
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, 200); err != nil && !errors.Is(err, unix.EINTR) {
				time.Sleep(200 * time.Millisecond)
			}
			if drain(fd) {
				return
			}
		}
	}
	return wait, func() { unix.Close(fd) }, nil
}

// drain reads what has come and tells whether it was about a block device, or
// whether something was lost.
func drain(fd int) (block bool) {
	buf := make([]byte, 16<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.ENOBUFS) {
			block = true
			continue
		}
		if err != nil {
			return block
		}
		block = block || bytes.Contains(buf[:n], []byte("\x00SUBSYSTEM=block\x00"))
	}
}

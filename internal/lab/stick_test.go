package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// usbUnit makes a place in the machine's /sys where the test can say that a disk
// hangs on USB: the only stand-in of a stick, beside the loop device under it. What
// finds, probes, mounts and reads it is the program's own.
const usbUnit = "[Unit]\nDefaultDependencies=no\nBefore=pullnode-keys.socket\n[Service]\nType=oneshot\nRemainAfterExit=yes\n" +
	"ExecStart=/bin/sh -c 'mkdir -p /run/usb && mount --bind /run/usb /sys/class/block'\n[Install]\nWantedBy=sysinit.target\n"

// stick is a file system on a block device that can be plugged into a machine.
type stick struct{ image, dev string }

// newStick makes an ext4 file system with one file.
func newStick(t *testing.T, label, file, content string) *stick {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("this machine has no loop devices: %v", err)
	}
	dir := t.TempDir()
	put(t, dir, map[string]string{"files/" + file: content})
	s := &stick{image: filepath.Join(dir, "stick.img")}
	if err := os.Chmod(filepath.Join(dir, "files", file), 0o600); err != nil {
		t.Fatal(err)
	}
	sbin(t, "mkfs.ext4", "-q", "-L", label, "-d", filepath.Join(dir, "files"), s.image, "4M")
	t.Cleanup(func() {
		if s.dev != "" {
			sbin(t, "losetup", "-d", s.dev)
		}
	})
	return s
}

func sbin(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		name = "/sbin/" + name
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// plug puts the stick in: first its place in /sys and /dev, then the device itself,
// of which the kernel tells the machine.
func (s *stick) plug(n *keyNode) {
	n.t.Helper()
	s.dev = sbin(n.t, "losetup", "--find", "--show", "--read-only", s.image)
	var st unix.Stat_t
	if err := unix.Stat(s.dev, &st); err != nil {
		n.t.Fatal(err)
	}
	name := filepath.Base(s.dev)
	n.sh(strings.NewReplacer("NAME", name, "MAJOR", fmt.Sprint(unix.Major(st.Rdev)), "MINOR", fmt.Sprint(unix.Minor(st.Rdev))).Replace(
		"test -b /dev/NAME || mknod -m 600 /dev/NAME b MAJOR MINOR; d=/run/usb-devices/usb1/1-2/block/NAME; mkdir -p $d && ln -sfn $d /run/usb/NAME"))
}

// pull takes it out.
func (s *stick) pull(n *keyNode) {
	n.t.Helper()
	n.sh("rm /run/usb/" + filepath.Base(s.dev) + " " + s.dev)
	sbin(n.t, "losetup", "-d", s.dev)
	s.dev = ""
}

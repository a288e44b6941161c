package install

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realTool runs the real program, with Debian's places of system programs.
func realTool(t *testing.T) Run {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	return func(ctx context.Context, argv ...string) ([]byte, error) {
		return exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	}
}

// loop gives a block device of 8 MiB on which prepare has put something.
func loop(t *testing.T, prepare func(file string), options ...string) string {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and loop devices")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(file)
	}
	out, err := exec.Command("losetup", append(append([]string{"--find", "--show"}, options...), file)...).CombinedOutput()
	if err != nil {
		t.Skipf("losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", dev).Run() })
	return dev
}

// What the real lsblk says of real block devices: whatever has data is told, and what
// cannot be a disk of a new system is refused.
func TestDisks(t *testing.T) {
	i := &Installer{Run: realTool(t)}
	mk := func(name string, args ...string) func(string) {
		return func(file string) {
			if out, err := exec.Command(name, append(args, file)...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
		}
	}
	put := func(at int, text string) func(string) {
		return func(file string) {
			raw, err := os.ReadFile(file)
			if err == nil {
				copy(raw[at:], text)
				err = os.WriteFile(file, raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		prepare func(string)
		data    string
	}{
		"nothing":           {nil, ""},
		"a file system":     {mk("mkfs.ext4", "-q"), "ext4"},
		"another":           {mk("mkfs.vfat"), "vfat"},
		"swap":              {mk("mkswap"), "swap"},
		"a partition table": {put(446, "\x80\x00\x01\x01\x83\x01\x01\x01\x01\x00\x00\x00\xff\x00\x00\x00"+strings.Repeat("\x00", 48)+"\x55\xaa"), "dos"},
		"a part of LUKS":    {put(0, "LUKS\xba\xbe\x00\x01"), "crypto_LUKS"},
		"a database":        {put(4096, "photos"), "something of an unknown kind"},
		"data at the end":   {put(8<<20-512, "photos"), "something of an unknown kind"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := loop(t, c.prepare)
			disks, err := i.Disks(t.Context(), []string{dev})
			if err != nil || len(disks) != 1 || !strings.HasPrefix(disks[0].Data, c.data) || (c.data == "") != (disks[0].Data == "") {
				t.Errorf("%+v, %v; want %q", disks, err, c.data)
			}
		})
	}

	refused := func(want string, devices ...string) {
		t.Helper()
		if disks, err := i.Disks(t.Context(), devices); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %+v, %v; want %q", devices, disks, err, want)
		}
	}
	refused("is read-only", loop(t, nil, "--read-only"))
	refused("is not here", "/dev/pullnode-no-such-disk")
	dev := loop(t, mk("mkfs.ext4", "-q"))
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	refused(link+" and "+dev+" are the same disk", link, dev)
	if !i.Same(t.Context(), link, dev) || i.Same(t.Context(), link, "/dev/null") || i.Same(t.Context(), "/nowhere", "/nowhere/else") {
		t.Error("two names of one device")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "ro", dev, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	refused("is in use: mounted at "+dir, dev)
	i.Leaves = true
	if disks, err := i.Disks(t.Context(), []string{dev}); err != nil || !strings.Contains(disks[0].Data, "in use, mounted at "+dir) {
		t.Errorf("%+v, %v", disks, err)
	}
}

// What no device here is, as lsblk of several versions tells it.
func TestDisksRefuses(t *testing.T) {
	for say, json := range map[string]string{
		"is no whole disk, but of the type part":       `{"path":"/dev/vda1","type":"part","ro":false}`,
		"is no whole disk, but of the type rom":        `{"path":"/dev/sr0","type":"rom","ro":true}`,
		"is read-only":                                 `{"path":"/dev/sda","type":"disk","ro":"1"}`,
		"the disk /dev/x is in use: mounted at [SWAP]": `{"path":"/dev/sda","type":"disk","ro":"0","children":[{"path":"/dev/md0","type":"raid1","children":[{"path":"/dev/dm-0","mountpoint":"[SWAP]"}]}]}`,
		"lsblk does not describe":                      `{"path":"/dev/sda"},{"path":"/dev/sdb"}`,
		"whether /dev/x has data: nothing was read":    `{"path":"/dev/sda","type":"disk","ro":false,"fstype":null}`,
	} {
		i := &Installer{Root: "/mnt", Run: func(_ context.Context, argv ...string) ([]byte, error) {
			if argv[0] != "lsblk" {
				return nil, nil
			}
			return []byte(`{"blockdevices":[` + json + `]}`), nil
		}}
		if _, err := i.Disks(t.Context(), []string{"/dev/x"}); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v, want %q", json, err, say)
		}
	}
}

// What an earlier run left mounted on an installer is data, and nothing else that is
// mounted there.
func TestDisksOfAnEarlierRun(t *testing.T) {
	i := &Installer{Root: "/mnt", Again: true}
	at := func(mount string) error {
		i.There = func(context.Context, ...string) ([]byte, error) {
			return []byte(`{"blockdevices":[{"path":"/dev/vda","type":"disk","ro":false,"pttype":"gpt","children":[{"path":"/dev/vda1","mountpoint":"/mnt/boot"},{"path":"/dev/vda2","mountpoint":"` + mount + `"}]}]}`), nil
		}
		disks, err := i.Disks(t.Context(), []string{"/dev/vda"})
		if err == nil && !strings.Contains(disks[0].Data, "mounted at "+mount) {
			t.Errorf("%+v", disks)
		}
		return err
	}
	if err := at("/mnt"); err != nil {
		t.Error(err)
	}
	if err := at("/mnt2"); err == nil {
		t.Error("another mount is wiped")
	}
	i.Again = false
	if err := at("/mnt"); err == nil {
		t.Error("the disks of a running system are wiped")
	}
}

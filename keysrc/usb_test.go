package keysrc_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// sticks is a machine's USB: real block devices (loop devices over images), under
// a /sys of the test's that says where they hang.
type sticks struct {
	sys string
	dev []string // attached, the newest last
}

func newSticks(t *testing.T) *sticks {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("this machine has no loop devices: %v", err)
	}
	s := &sticks{sys: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(s.sys, "class/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for len(s.dev) > 0 {
			s.pull(t)
		}
	})
	return s
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Err != nil { // not in this test's PATH
		cmd = exec.Command("/sbin/"+name, args...)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// image gives an ext4 file system with these files and links.
func image(t *testing.T, label string, files map[string][]byte) string {
	t.Helper()
	dir, img := t.TempDir(), filepath.Join(t.TempDir(), "stick.img")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := bytes.CutPrefix(content, []byte("-> ")); ok {
			if err := os.Symlink(string(to), path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, path, content, 0o600)
	}
	tool(t, "mkfs.ext4", "-q", "-L", label, "-d", dir, img, "4M")
	return img
}

// plug attaches an image as a device that hangs at a place such as "usb1/1-2".
func (s *sticks) plug(t *testing.T, img, at string) {
	t.Helper()
	dev := tool(t, "losetup", "--find", "--show", "--read-only", img)
	s.dev = append(s.dev, dev)
	dir := filepath.Join(s.sys, "devices/pci0000:00", at, "block", filepath.Base(dev))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "removable"), []byte("0\n"), 0o444)
	if err := os.Symlink(dir, filepath.Join(s.sys, "class/block", filepath.Base(dev))); err != nil {
		t.Fatal(err)
	}
}

func (s *sticks) pull(t *testing.T) {
	t.Helper()
	dev := s.dev[len(s.dev)-1]
	s.dev = s.dev[:len(s.dev)-1]
	if err := os.Remove(filepath.Join(s.sys, "class/block", filepath.Base(dev))); err != nil {
		t.Fatal(err)
	}
	tool(t, "losetup", "-d", dev)
}

func (s *sticks) source(t *testing.T, more ...string) keysrc.Source {
	settings := map[string]any{"type": "usb", "label": "PULLNODE-KEY", "file": "keys/host.age"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	if settings["uuid"] != nil {
		delete(settings, "label")
	}
	return keysrc.OnDisks(open(t, settings), s.sys, "/dev")
}

func TestUSB(t *testing.T) {
	id := newIdentity(t)
	content := []byte(id.String() + "\n")
	var s *sticks
	holding := func(t *testing.T, content []byte) {
		s.plug(t, image(t, "PULLNODE-KEY", map[string][]byte{"keys/host.age": content}), "usb1/1-2")
	}
	keysrctest.Run(t, keysrctest.Case{
		Open: func(t *testing.T) keysrc.Source {
			s = newSticks(t)
			holding(t, content)
			return s.source(t)
		},
		Remove: func(t *testing.T) { s.pull(t) },
		Put: func(t *testing.T, content []byte) {
			for len(s.dev) > 0 {
				s.pull(t)
			}
			holding(t, content)
		},
		Content: content, Recipient: id.Recipient().String(), Secrets: []string{id.String(), id.String()[20:]},
	})
}

func TestUSBRefuses(t *testing.T) {
	id := newIdentity(t)
	key := []byte(id.String())
	for name, c := range map[string]struct {
		files map[string][]byte
		at    string
		twice bool
		want  string
	}{
		"a link":           {map[string][]byte{"keys/host.age": []byte("-> /etc/shadow")}, "usb1/1-2", false, "is or passes a symbolic link"},
		"a link on it":     {map[string][]byte{"real/host.age": key, "keys": []byte("-> real")}, "usb1/1-2", false, "is or passes a symbolic link"},
		"a directory":      {map[string][]byte{"keys/host.age/x": key}, "usb1/1-2", false, "is not a regular file"},
		"another file":     {map[string][]byte{"keys/other.age": key}, "usb1/1-2", false, "there is no such file on the stick"},
		"an internal disk": {map[string][]byte{"keys/host.age": key}, "0000:00:1f.2/ata1", false, "is a disk inside this machine"},
		"two of a name":    {map[string][]byte{"keys/host.age": key}, "usb1/1-2", true, "2 file systems have that name"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSticks(t)
			s.plug(t, image(t, "PULLNODE-KEY", c.files), c.at)
			if c.twice {
				s.plug(t, image(t, "PULLNODE-KEY", c.files), "usb2/2-1")
			}
			_, err := s.source(t).Fetch(t.Context())
			wantErr(t, err, c.want)
			if errors.Is(err, keysrc.ErrAbsent) {
				t.Errorf("%v would be passed over", err)
			}
		})
	}
	t.Run("a damaged file system", func(t *testing.T) {
		s := newSticks(t)
		img := image(t, "PULLNODE-KEY", map[string][]byte{"keys/host.age": key})
		raw, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		clear(raw[0x800:])
		write(t, img, raw, 0o600)
		s.plug(t, img, "usb1/1-2")
		_, err = s.source(t).Fetch(t.Context())
		if err == nil || errors.Is(err, keysrc.ErrAbsent) {
			t.Errorf("error is %v", err)
		}
	})
}

// The stick comes while the source waits, another one before it.
func TestUSBWaits(t *testing.T) {
	id := newIdentity(t)
	s := newSticks(t)
	img := image(t, "PULLNODE-KEY", map[string][]byte{"keys/host.age": []byte(id.String())})
	other := image(t, "HOLIDAY", map[string][]byte{"keys/host.age": []byte("photos")})
	_, _, uuid, err := keysrc.Superblock(img)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		k   *keysrc.Key
		err error
	}
	got := make(chan result, 1)
	source := s.source(t, "uuid", strings.ToUpper(uuid), "wait", "1m")
	go func() { k, err := source.Fetch(context.Background()); got <- result{k, err} }()
	s.plug(t, other, "usb1/1-1")
	select {
	case r := <-got:
		t.Fatalf("took another stick: %+v", r)
	case <-time.After(300 * time.Millisecond):
	}
	s.plug(t, img, "usb1/1-2")
	if r := <-got; r.err != nil || r.k.Recipient() != id.Recipient().String() {
		t.Fatalf("%v", r.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.pull(t)
	if _, err := source.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waits on: %v", err)
	}
	if _, err := s.source(t, "wait", "50ms").Fetch(t.Context()); !errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("after its time: %v", err)
	}
}

// What mkfs writes is what the superblock says; the kernel need not know FAT.
func TestUSBSuperblocks(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		size string
		make []string
		want string
	}{
		"fat12": {"2M", []string{"mkfs.vfat", "-F", "12", "-n", "PULLKEY", "-i", "1234ABCD"}, "vfat PULLKEY 1234abcd"},
		"fat16": {"20M", []string{"mkfs.vfat", "-F", "16", "-n", "PULLKEY", "-i", "1234ABCD"}, "vfat PULLKEY 1234abcd"},
		"fat32": {"64M", []string{"mkfs.vfat", "-F", "32", "-n", "PULLKEY", "-i", "1234ABCD"}, "vfat PULLKEY 1234abcd"},
		"ext4":  {"4M", []string{"mkfs.ext4", "-q", "-L", "PULLKEY", "-U", "11111111-2222-4333-8444-555555555555"}, "ext4 PULLKEY 11111111222243338444555555555555"},
	} {
		t.Run(name, func(t *testing.T) {
			img := filepath.Join(dir, name)
			tool(t, "truncate", "-s", c.size, img)
			tool(t, c.make[0], append(c.make[1:], img)...)
			fs, label, uuid, err := keysrc.Superblock(img)
			if got := fs + " " + label + " " + uuid; err != nil || got != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
	write(t, filepath.Join(dir, "none"), make([]byte, 1<<16), 0o600)
	if _, _, _, err := keysrc.Superblock(filepath.Join(dir, "none")); err == nil {
		t.Error("zeros are a file system")
	}
}

func TestUSBSettings(t *testing.T) {
	for want, raw := range map[string]string{
		"label: is missing":          `{"type":"usb","file":"k"}`,
		"want one of them":           `{"type":"usb","label":"a","uuid":"b","file":"k"}`,
		"is not a path on the stick": `{"type":"usb","label":"a","file":"/k"}`,
		"is no duration":             `{"type":"usb","label":"a","file":"k","wait":"soon"}`,
		`did you mean "label"?`:      `{"type":"usb","lable":"a","file":"k"}`,
		`"../k" is not a path on`:    `{"type":"usb","label":"a","file":"../k"}`,
		`did you mean "usb"?`:        `{"type":"usbb","label":"a","file":"k"}`,
	} {
		_, err := openRaw(raw)
		wantErr(t, err, want)
	}
}

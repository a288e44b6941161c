package keysrc_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pullnode/keysrc"
)

func newHandoff(t *testing.T) keysrc.Handoff {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts and needs root")
	}
	dir := t.TempDir()
	h := keysrc.Handoff{Dir: filepath.Join(dir, "hand over"), Copies: []string{
		filepath.Join(dir, "secrets.d/age-keys.txt"), filepath.Join(dir, "secrets-for-users.d/age-keys.txt"),
	}}
	t.Cleanup(func() { h.Remove() })
	return h
}

// leaveCopies does what sops-nix does with the file.
func leaveCopies(t *testing.T, h keysrc.Handoff) {
	t.Helper()
	for _, c := range h.Copies {
		if err := os.MkdirAll(filepath.Dir(c), 0o751); err != nil {
			t.Fatal(err)
		}
		write(t, c, []byte("AGE-SECRET-KEY-1\n"), 0o600)
	}
}

func wantGone(t *testing.T, h keysrc.Handoff) {
	t.Helper()
	for _, path := range append([]string{h.Path(), h.Dir}, h.Copies...) {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left (%v)", path, err)
		}
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(info), strings.ReplaceAll(h.Dir, " ", `\040`)) {
		t.Error("the ramfs is still mounted")
	}
}

func TestHandoff(t *testing.T) {
	h := newHandoff(t)
	id := newIdentity(t)
	text := "# old and new\n" + id.String() + "\n"
	key, err := keysrc.ParseKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(key); err != nil {
		t.Fatal(err)
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(h.Dir, &fsys); err != nil || fsys.Type != unix.RAMFS_MAGIC {
		t.Errorf("file system %#x, %v, want ramfs", fsys.Type, err)
	}
	if got, err := os.ReadFile(h.Path()); err != nil || string(got) != text {
		t.Errorf("the file has %q, %v", got, err)
	}
	for path, want := range map[string]os.FileMode{h.Path(): 0o400, h.Dir: 0o700 | os.ModeDir} {
		st, err := os.Stat(path)
		if err != nil || st.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", path, st.Mode(), err, want)
		}
	}
	leaveCopies(t, h)
	// What is handed over is an ordinary source for the next.
	got, err := open(t, map[string]any{"type": "file", "path": h.Path()}).Fetch(t.Context())
	if err != nil || got.Recipient() != id.Recipient().String() {
		t.Errorf("read back %v, %v", got, err)
	}
	for range 2 {
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
		wantGone(t, h)
	}
}

// Wherever a run was killed, Remove leaves nothing, and Start starts anew.
func TestHandoffRemoveFromAnyState(t *testing.T) {
	mount := func(t *testing.T, h keysrc.Handoff) {
		if err := unix.Mount("pullnode-handoff", h.Dir, "ramfs", 0, "mode=0700"); err != nil {
			t.Fatal(err)
		}
	}
	mkdir := func(t *testing.T, h keysrc.Handoff) {
		if err := os.Mkdir(h.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	start := func(t *testing.T, h keysrc.Handoff) {
		if err := h.Start(newKey(t)); err != nil {
			t.Fatal(err)
		}
	}
	put := func(t *testing.T, h keysrc.Handoff) { write(t, h.Path(), []byte("AGE-SECRET-KEY-1"), 0o400) }
	for name, steps := range map[string][]func(*testing.T, keysrc.Handoff){
		"never started":     {},
		"directory":         {mkdir},
		"mounted":           {mkdir, mount},
		"half written":      {mkdir, mount, put},
		"written, no mount": {mkdir, put},
		"mounted twice":     {mkdir, put, mount, put, mount, put},
		"started":           {start},
		"copies only":       {leaveCopies},
		"all":               {start, leaveCopies},
		"unlinked":          {start, func(t *testing.T, h keysrc.Handoff) { os.Remove(h.Path()) }},
		"copy is a symlink": {start, func(t *testing.T, h keysrc.Handoff) {
			os.MkdirAll(filepath.Dir(h.Copies[0]), 0o700)
			if err := os.Symlink("/etc/passwd", h.Copies[0]); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandoff(t)
			passwd, _ := os.ReadFile("/etc/passwd")
			for _, step := range steps {
				step(t, h)
			}
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
			wantGone(t, h)
			if now, _ := os.ReadFile("/etc/passwd"); !bytes.Equal(now, passwd) {
				t.Fatal("wrote through a symbolic link")
			}
			for _, step := range steps {
				step(t, h)
			}
			start(t, h)
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
			wantGone(t, h)
		})
	}
}

// A program with the file open or its working directory there keeps neither the
// mount nor the key.
func TestHandoffRemoveWhileInUse(t *testing.T) {
	h := newHandoff(t)
	if err := h.Start(newKey(t)); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(h.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	dir, err := os.Open(h.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := h.Remove(); err != nil {
		t.Error(err)
	}
	wantGone(t, h)
	buf := make([]byte, 256)
	n, _ := file.ReadAt(buf, 0)
	if bytes.Contains(buf[:n], []byte("AGE-SECRET-KEY")) {
		t.Error("the key can still be read through an open file")
	}
}

func TestHandoffFailsClean(t *testing.T) {
	h := newHandoff(t)
	key := newKey(t)
	key.Wipe()
	wantErr(t, h.Start(key), "the key was wiped")
	wantGone(t, h)
	wantErr(t, h.Start(nil), "the key was wiped")
	wantGone(t, h)
	for _, dir := range []string{"", "/", "/run", "rel/x", "/run/x/"} {
		bad := keysrc.Handoff{Dir: dir}
		wantErr(t, bad.Start(newKey(t)), "cannot be a hand-over directory")
		wantErr(t, bad.Remove(), "cannot be a hand-over directory")
	}
}

// A wrong setting must not take away what others mounted.
func TestHandoffLeavesOtherMounts(t *testing.T) {
	h := newHandoff(t)
	if err := os.Mkdir(h.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("someone-else", h.Dir, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(h.Dir, unix.MNT_DETACH) })
	if err := h.Remove(); err == nil {
		t.Error("claims that all is gone")
	}
	if err := h.Start(newKey(t)); err == nil {
		t.Error("started on top of it")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(h.Dir, &st); err != nil || st.Type != unix.RAMFS_MAGIC {
		t.Error("unmounted it")
	}
}

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pullnode/internal/state"
)

// TestFullDisk runs on a real file system that is full: the reserve takes one
// more write, then the old state stays whole.
func TestFullDisk(t *testing.T) {
	c := conf(t)
	must(t, os.MkdirAll(c.Dir, 0o700))
	if err := syscall.Mount("tmpfs", c.Dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a tmpfs (the tests run as root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(c.Dir, syscall.MNT_DETACH) })
	s := open(t, c)
	update(t, s, func(st *state.State) { st.Request = 1 })
	spare := filepath.Join(c.Dir, "state.spare")
	if info, err := os.Stat(spare); err != nil || info.Size() != 64<<10 {
		t.Fatalf("no reserve: %v", err)
	}
	fill, err := os.Create(filepath.Join(c.Dir, "fill"))
	must(t, err)
	for buf := make([]byte, 4096); ; {
		if _, err := fill.Write(buf); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	fill.Close()

	update(t, s, func(st *state.State) { st.Failure.Class = "no-space" })
	must(t, s.Append(state.Entry{Result: state.ResultFailed, Why: "disk full"}))
	err = s.Update(func(st *state.State) error { st.Failure.Text = strings.Repeat("x", 200<<10); return nil })
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Update: %v", err)
	}
	if got := s.State(); got.Failure.Class != "no-space" || got.Failure.Text != "" {
		t.Fatalf("%+v", got.Failure)
	}
	s.Close()
	s = open(t, c)
	if got := s.State(); got.Failure.Class != "no-space" || len(s.Alerts()) != 0 {
		t.Fatalf("%+v, alerts %q", got.Failure, s.Alerts())
	}
	must(t, os.Remove(filepath.Join(c.Dir, "fill")))
	update(t, s, func(st *state.State) { st.Failure = state.Failure{} })
	if info, err := os.Stat(spare); err != nil || info.Size() != 64<<10 {
		t.Fatalf("the reserve was not made again: %v", err)
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestObserveNeverActivates(t *testing.T) {
	h := newHost(t, map[string]any{"operation": "observe"})
	h.cycle()
	if _, err := os.Lstat(filepath.Join(h.root, "run", "current-system")); err == nil {
		t.Error("observe switched")
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		exit int
		say  string
	}{
		{[]string{"statsu"}, exitUsage, `did you mean "status"?`},
		{[]string{"check-config"}, exitUsage, "usage: pullnode check-config FILE"},
		{[]string{"check-config", "/nonexistent"}, exitFailed, "no such file"},
		{[]string{"status", "--run", "/nonexistent"}, exitFailed, "hint: systemctl status pullnode"},
		{[]string{"run", "--config", "/nonexistent"}, exitFailed, "no such file"},
	} {
		var out, errs bytes.Buffer
		if got := run(c.args, &out, &errs); got != c.exit || !strings.Contains(errs.String(), c.say) {
			t.Errorf("%v: exit %d, %q; want %d with %q", c.args, got, errs.String(), c.exit, c.say)
		}
	}
}

// A rebuild by hand is held, not undone, until resume or another system.
func TestManualSwitchIsHeld(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	link := filepath.Join(h.root, "run", "current-system")
	one, _ := os.Readlink(link)
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	byHand := func() {
		os.Remove(link)
		if err := os.Symlink(one, link); err != nil {
			t.Fatal(err)
		}
		h.restart()
	}
	byHand()
	h.want(h.cycle(), "held", "healthy", "one")
	h.page("three\n")
	h.r.Commit("alice", "another system")
	h.want(h.cycle(), "in-sync", "healthy", "three")
	byHand()
	h.want(h.cycle(), "held", "healthy", "one")
}

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/agent"
	"pullnode/internal/state"
)

// lose damages everything that the node remembers.
func (h *host) lose() {
	h.t.Helper()
	h.a.Store.Close()
	for _, name := range []string{"state/state.json", "state/state.json.prev", "floor/floor.json"} {
		if err := os.WriteFile(filepath.Join(h.root, name), []byte("{"), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	h.restart()
}

// With nothing readable left the node goes on asking, says so with the command
// that helps, and deploys nothing, whatever the server shows, until root has
// named the commit to begin with.
func TestLostStateWaitsForTrust(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	old := h.r.Head()
	h.page("two\n")
	two := h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.lose()
	s := h.cycle()
	h.want(s, "stopped", "unknown", "two")
	if s.Wanted == nil || s.Wanted.ID != two || !strings.Contains(s.Hint, "pullnode trust "+two) || !strings.Contains(strings.Join(s.Why, "\n"), "no state file can be read") {
		t.Errorf("status %+v", s)
	}
	h.r.Git("reset", "-q", "--hard", old)
	h.restart() // also after a restart
	if s = h.cycle(); s.Wanted == nil || s.Wanted.ID != old {
		t.Errorf("wanted %+v", s.Wanted)
	}
	h.want(s, "stopped", "unknown", "two")
	h.down = true
	if s = h.cycle(); s.Failure == nil || s.Failure.Count != 1 {
		t.Errorf("failure %+v", s.Failure)
	}
	h.down = false
	h.r.Git("reset", "-q", "--hard", two)
	h.page("bad\n")
	h.r.Commit("", "unsigned")
	if s = h.cycle(); !strings.HasPrefix(s.Hint, "pullnode trust COMMIT") || !strings.Contains(strings.Join(s.Why, "\n"), "is not signed") {
		t.Errorf("status %+v", s)
	}
	h.want(s, "stopped", "unknown", "two")

	h.r.Git("reset", "-q", "--hard", two)
	h.page("three\n")
	h.r.Commit("alice", "three")
	h.trust(two, "the disk was damaged")
	h.want(h.readStatus(), "in-sync", "healthy", "three")
	list, err := h.a.Store.History(2)
	if err != nil || len(list) != 2 || list[0].Result != state.ResultTrusted || list[0].Commit != two || list[0].Why != "the disk was damaged" {
		t.Errorf("history %+v, %v", list, err)
	}
	h.restart()
	h.r.Git("reset", "-q", "--hard", two)
	s = h.cycle()
	if h.want(s, "refused", "healthy", "three"); s.Verdict != "ROLLBACK" {
		t.Errorf("an older commit: %s", s.Verdict)
	}
}

// trust types the command and lets the loop run until it was carried out.
func (h *host) trust(commit, why string) {
	h.t.Helper()
	var out, errs bytes.Buffer
	if run([]string{"trust", commit, "--reason", why, "--run", filepath.Join(h.root, "run")}, &out, &errs) != exitOK {
		h.t.Fatal(errs.String())
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.a.Run(ctx, func() {}) }()
	h.until("in sync again", func(s agent.Status) bool { return s.Sync == "in-sync" })
	cancel()
	if err := <-ended; err != nil {
		h.t.Error(err)
	}
	h.restart()
}

// A history that was rewritten on purpose is taken when root names a commit of it.
func TestRewrittenHistoryIsTrusted(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.r.Git("checkout", "-q", "--orphan", "anew")
	h.page("anew\n")
	h.r.Commit("alice", "all of it in one commit")
	h.r.Git("branch", "-q", "-M", "anew", "main")
	h.want(h.cycle(), "refused", "healthy", "one")
	h.trust(h.r.Head(), "history was rewritten")
	h.want(h.readStatus(), "in-sync", "healthy", "anew")
	h.page("more\n")
	h.r.Commit("alice", "more")
	h.want(h.cycle(), "in-sync", "healthy", "more")
}

func TestTrustUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		exit int
		say  string
	}{
		{[]string{"trust", "4f2c9e1", "--reason", "x"}, exitUsage, "full commit id"},
		{[]string{"trust", strings.Repeat("a", 40)}, exitUsage, "--reason is missing"},
		{[]string{"trust", strings.Repeat("a", 40), "--reason", "x", "--run", "/nonexistent"}, exitFailed, "hint: systemctl status pullnode"},
	} {
		var out, errs bytes.Buffer
		if got := run(c.args, &out, &errs); got != c.exit || !strings.Contains(errs.String(), c.say) {
			t.Errorf("%v: exit %d, %q; want %d with %q", c.args, got, errs.String(), c.exit, c.say)
		}
	}
}

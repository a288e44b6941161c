package main

import (
	"strings"
	"testing"

	"pullnode/sync"
)

// 5: a new key signs from the commit after the one that lists it on, in the same
// process; a key that was taken out is refused at once; a threshold holds.
func TestComin5KeysChangeWithoutARestart(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.r.Signers("alice2")
	h.r.Commit("alice", "alice has a new key")
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("two\n")
	good := h.r.Commit("alice2", "by the new key")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.page("old\n")
	h.r.Commit("alice", "by the key that was taken out")
	s := h.cycle()
	if h.want(s, "refused", "healthy", "two"); s.Verdict != string(sync.UnknownKey) {
		t.Errorf("verdict %s", s.Verdict)
	}
	h.r.Git("reset", "-q", "--hard", good)
	h.r.Signers("alice2", "bob")
	h.r.Write(sync.RulesPath, "admin alice2\ndeploy demo alice2 bob need 2\n")
	h.r.Commit("alice2", "two people from now on")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	h.page("three\n")
	h.r.Commit("bob", "alone")
	s = h.cycle()
	if h.want(s, "pending", "healthy", "two"); s.Verdict != string(sync.Pending) {
		t.Errorf("verdict %s", s.Verdict)
	}
	h.r.Commit("alice2", "Approve")
	h.want(h.cycle(), "in-sync", "healthy", "three")
}

// 15: a forced push stops the node, and there is a verb that goes on from there
// without a visit to it, for the operators alone.
func TestComin15ForcedPushHasAWayOut(t *testing.T) {
	h := newHost(t, nil)
	old := h.r.Head()
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.r.Git("reset", "-q", "--hard", old)
	h.page("three\n")
	h.r.Commit("alice", "history was rewritten")
	s := h.cycle()
	if h.want(s, "refused", "healthy", "two"); s.Verdict != string(sync.Fork) || !strings.Contains(s.Hint, "pullnode reset") {
		t.Errorf("verdict %s, hint %q", s.Verdict, s.Hint)
	}
	h.r.Git("config", "user.name", "mallory")
	h.r.Git("config", "user.email", "mallory@example.org")
	rewritten := h.r.Head()
	reset := func(key string) {
		t.Helper()
		if code := run([]string{"reset", "--repo", h.r.Dir, "--yes", "--key", h.r.Key(key)}, t.Output(), t.Output()); code != exitOK {
			t.Fatalf("pullnode reset: exit %d", code)
		}
	}
	reset("mallory")
	if s = h.cycle(); s.Verdict != string(sync.Fork) {
		t.Errorf("a stranger's reset: %s", s.Verdict)
	}
	h.want(s, "refused", "healthy", "two")
	h.r.Git("reset", "-q", "--hard", rewritten)
	reset("alice")
	h.want(h.cycle(), "in-sync", "healthy", "three")
	h.page("four\n")
	h.r.Commit("alice", "and on")
	h.want(h.cycle(), "in-sync", "healthy", "four")
}

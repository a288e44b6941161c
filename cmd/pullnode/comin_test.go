package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/activate"
	"pullnode/internal/agent"
	"pullnode/internal/state"
)

// The faults that were recorded of comin, the best known puller for NixOS, as they
// would show here. The numbers are those of that record.

// 1: a signed tip does not vouch for an unsigned commit below it.
func TestComin1UnsignedBelowASignedTip(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("evil\n")
	unsigned := h.r.Commit("", "unsigned")
	h.r.Write("README", "more\n")
	h.r.Commit("alice", "signed on top")
	s := h.cycle()
	if h.want(s, "refused", "healthy", "one"); s.Verdict != "UNSIGNED" || s.Wanted.ID != unsigned {
		t.Errorf("verdict %s on %+v", s.Verdict, s.Wanted)
	}
}

// 2: with the whole state lost the floor still refuses an older signed commit.
func TestComin2RewindAfterStateLoss(t *testing.T) {
	h := newHost(t, nil)
	old := h.r.Head()
	h.cycle()
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	h.a.Store.Close()
	for _, name := range []string{"state.json", "state.json.prev", "ancestors"} {
		write(t, filepath.Join(h.root, "state", name), "{")
	}
	h.restart()
	h.r.Git("reset", "-q", "--hard", old)
	s := h.cycle()
	if s.Sync != "refused" || s.Verdict != "ROLLBACK" && s.Verdict != "FORK" {
		t.Errorf("after state loss an older commit is %s %s %q", s.Sync, s.Verdict, s.Why)
	}
	h.want(s, "refused", s.Health, "two")
}

// 3: an unsigned push does not keep the next good commit out, without a restart.
func TestComin3UnsignedPushDoesNotWedge(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	good := h.r.Head()
	h.page("evil\n")
	h.r.Commit("", "unsigned")
	h.want(h.cycle(), "refused", "healthy", "one")
	h.r.Git("reset", "-q", "--hard", good)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("two\n")
	h.r.Commit("alice", "a signed fix")
	h.want(h.cycle(), "in-sync", "healthy", "two")
}

// 4: a network failure is never shown as a signature alarm, and loses nothing.
func TestComin4NetworkFailureIsNoSignatureAlarm(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.down = true
	s := h.cycle()
	h.want(s, "in-sync", "healthy", "one")
	if s.Failure == nil || s.Failure.Class != "server-error" || s.Verdict != "UP-TO-DATE" || !well(s) {
		t.Errorf("failure %+v, verdict %s", s.Failure, s.Verdict)
	}
	if list, _ := h.a.Store.History(1); list[0].Result == state.ResultRefused {
		t.Errorf("the history has an alarm: %+v", list[0])
	}
	h.down = false
	s = h.cycle()
	if h.want(s, "in-sync", "healthy", "two"); s.Failure != nil {
		t.Errorf("failure stays: %+v", s.Failure)
	}
}

// 8: an input that flake.lock does not pin is not fetched, it is refused.
func TestComin8UnlockedInputIsNotFetched(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	asked := filepath.Join(t.TempDir(), "input")
	mustDo(t, os.MkdirAll(asked, 0o755))
	write(t, filepath.Join(asked, "default.nix"), "{ }")
	raw, _ := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	flake := strings.Replace(string(raw), "outputs = { self }", `inputs.x = { url = "path:`+asked+`"; flake = false; }; outputs = { self, x }`, 1)
	for name, lock := range map[string]string{"no lock": "", "a lock without it": `{"nodes":{"root":{}},"root":"root","version":7}`} {
		h.r.Write("flake.nix", flake)
		if lock != "" {
			h.r.Write("flake.lock", lock)
		}
		h.page(name + "\n")
		h.r.Commit("alice", name)
		s := h.cycle()
		h.want(s, "failed", "healthy", "one")
		if !strings.Contains(strings.Join(s.Why, "\n"), "requires lock file changes") {
			t.Errorf("%s: why %q", name, s.Why)
		}
	}
}

// 9: a git revert is deployed, though that very system ran before.
func TestComin9GitRevertIsDeployed(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	h.r.Git("revert", "-n", "HEAD")
	h.r.Commit("alice", "Revert \"two\"")
	h.want(h.cycle(), "in-sync", "healthy", "one")
	// And a commit that changes no system switches nothing.
	before, _ := os.Readlink(filepath.Join(h.root, "profiles", "system"))
	h.r.Write("README", "more\n")
	h.r.Commit("alice", "README")
	h.want(h.cycle(), "in-sync", "healthy", "one")
	if after, _ := os.Readlink(filepath.Join(h.root, "profiles", "system")); after != before {
		t.Errorf("a README edit made %s of %s", after, before)
	}
}

// 16: a state file that a power cut or a full disk cut short is not a first run:
// nothing is forgotten, neither what was deployed nor what is trusted.
func TestComin16CutStateIsNotForgotten(t *testing.T) {
	h := newHost(t, nil)
	old := h.r.Head()
	h.cycle()
	h.page("two\n")
	two := h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	h.cycle() // the previous generation knows it too
	h.a.Store.Close()
	mustDo(t, os.Truncate(filepath.Join(h.root, "state", "state.json"), 100))
	h.restart()
	s := h.cycle()
	if h.want(s, "in-sync", "healthy", "two"); s.Running == nil || s.Running.ID != two || s.Gen != 2 || len(s.Alerts) == 0 {
		t.Errorf("runs %+v, generation %d, alerts %q", s.Running, s.Gen, s.Alerts)
	}
	h.r.Git("reset", "-q", "--hard", old)
	h.want(h.cycle(), "refused", "healthy", "two")
}

// 17: an unhealthy system is put back and not tried again, the next good one is
// taken, and an operator can go back by a command.
func TestComin17UnhealthyIsPutBack(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("")
	h.r.Commit("alice", "an empty page")
	h.want(h.cycle(), "held", "reverted", "one")
	h.want(h.cycle(), "held", "reverted", "one")
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	if got := typed("rollback", "--run", filepath.Join(h.root, "run")); !strings.HasSuffix(got, "exit status 0\n") {
		t.Fatal(got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.a.Run(ctx, func() {}) }()
	h.until("rolled back", func(s agent.Status) bool { return s.Sync == "held" && s.Phase == "" })
	cancel()
	mustDo(t, <-ended)
	h.want(h.readStatus(), "held", "healthy", "one")
}

// 18: the boot default is untouched until the new system has proven itself.
func TestComin18BootDefaultWaitsForHealth(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	link := filepath.Join(h.root, "profiles", "system")
	one, err := filepath.EvalSymlinks(link)
	mustDo(t, err)
	var during []string
	h.page("")
	h.r.Commit("alice", "an empty page")
	h.a.Activator.Journal = seenAt{h.a.Activator.Journal, func(activate.Phase) {
		p, _ := filepath.EvalSymlinks(link)
		during = append(during, p)
	}}
	h.want(h.cycle(), "held", "reverted", "one")
	if len(during) < 4 {
		t.Fatalf("phases %q", during)
	}
	for _, p := range during {
		if p != one {
			t.Errorf("%s would boot during the try", p)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(h.root, "boot", "default"))
	if after, _ := filepath.EvalSymlinks(link); after != one || strings.TrimSpace(string(raw)) != one {
		t.Errorf("%s and %s boot after the try, want %s", after, raw, one)
	}
}

// 19: a switch that hangs is ended, and one outlives the agent that started it.
func TestComin19HangingSwitchIsEnded(t *testing.T) {
	h := newHost(t, map[string]any{"build": map[string]any{"switchTimeout": "2s"}})
	h.want(h.cycle(), "in-sync", "healthy", "one")
	raw, _ := os.ReadFile(filepath.Join(h.r.Dir, "build.sh"))
	h.r.Write("build.sh", strings.Replace(string(raw), "  test) ", "  test) sleep 3600\n        ", 1))
	h.r.Commit("alice", "a switch for ever")
	s := h.cycle()
	if h.want(s, "held", "reverted", "one"); !strings.Contains(strings.Join(s.Why, "\n"), "time") {
		t.Errorf("why %q", s.Why)
	}

	h.r.Write("build.sh", strings.Replace(string(raw), "  test) ", "  test) sleep 1\n        ", 1))
	h.page("two\n")
	h.r.Commit("alice", "a slow switch")
	ctx, cancel := context.WithCancel(t.Context())
	h.a.Activator.Journal = cutAt{h.a.Activator.Journal, activate.Trying, cancel}
	if _, err := h.a.Cycle(ctx); err == nil {
		t.Fatal("the agent was not stopped")
	}
	h.restart()
	var last agent.Status
	for end := time.Now().Add(time.Minute); last.Sync != "in-sync" && time.Now().Before(end); {
		last = h.cycle()
	}
	h.want(last, "in-sync", "healthy", "two")
	if at := h.a.Store.State().Attempt; at != nil {
		text, _ := json.Marshal(at)
		t.Errorf("still under way: %s", text)
	}
}

package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/activate"
	"pullnode/internal/agent"
	"pullnode/internal/state"
)

// restart ends the agent's process, as far as there is one, and starts it anew.
func (h *host) restart() {
	h.t.Helper()
	h.a.Store.Close()
	a, err := onePlace(h.a.Config, h.root, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.a = a
}

// later makes every agent that starts from here on one of the next release.
func later(t *testing.T, on bool) {
	t.Helper()
	was := placeState
	t.Cleanup(func() { placeState = was })
	placeState = func(root string) state.Config {
		c := was(root)
		if on {
			c = state.Later(c)
		}
		return c
	}
}

// The state moves to a new schema only when the system that the new agent came
// with is kept: until then the old agent can be put back and goes on.
func TestSchemaMovesWhenTheNewAgentIsKept(t *testing.T) {
	was := placeState
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")

	later(t, true)
	h.restart()
	h.page("")
	h.r.Commit("alice", "the new agent's first try goes wrong")
	h.want(h.cycle(), "held", "reverted", "one")
	if n := h.a.Store.WriteSchema(); n != state.Schema {
		t.Fatalf("schema %d after a try that was put back", n)
	}

	placeState = was
	h.restart()
	h.want(h.cycle(), "held", "reverted", "one")

	later(t, true)
	h.restart()
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	if n := h.a.Store.WriteSchema(); n != state.Schema+1 {
		t.Fatalf("schema %d after a try that was kept", n)
	}
}

// An older agent that finds a newer state puts back what is in flight, asks
// nothing, says why, and neither ends nor writes.
func TestOlderAgentStopsAtANewerState(t *testing.T) {
	was := placeState
	later(t, true)
	h := newHost(t, nil)
	h.cycle()
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	// A try of a system with the older agent, which the switch has just started.
	link := filepath.Join(h.root, "run", "current-system")
	two, _ := os.Readlink(link)
	h.r.Git("checkout", "HEAD~1", "--", "site")
	h.r.Commit("alice", "a system with an older agent")
	var f activate.Facts
	h.a.Activator.Progress = nil
	ctx, cancel := context.WithCancel(t.Context())
	at := h.a.Activator.Journal
	h.a.Activator.Journal = cutAt{at, activate.Checking, cancel}
	if _, err := h.a.Cycle(ctx); err == nil {
		t.Fatal("the try was not cut")
	}
	if f, _ = h.a.System.Facts(t.Context()); string(f.Running) == two {
		t.Fatal("nothing is in flight")
	}
	before, _ := os.ReadFile(filepath.Join(h.root, "state", "state.json"))

	placeState = was
	h.restart()
	var told []string
	h.a.Tell = func(s string) { told = append(told, s) }
	h.down = true // whoever asks would see a failure
	ctx, cancel = context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.a.Run(ctx, func() {}) }()
	h.until("stopped", func(s agent.Status) bool { return s.Sync == "stopped" && len(s.Why) == 2 && s.Failure == nil })
	h.ask(agent.Request{Verb: "suspend"})
	h.until("told that it cannot", func(s agent.Status) bool {
		return strings.HasPrefix(s.Request, "suspend: state was written by a newer")
	})
	s := h.readStatus()
	h.want(s, "stopped", "unknown", "two")
	if !strings.Contains(s.Why[0], "schema 2, this one knows up to 1") || !strings.Contains(s.Why[1], "was put back") || s.Hint == "" || well(s) {
		t.Errorf("status %+v", s)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the service ends with %v and would be started again", err)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "stopped: state was written by a newer pullnode") {
		t.Errorf("the service manager was told %q", told)
	}
	if after, _ := os.ReadFile(filepath.Join(h.root, "state", "state.json")); string(after) != string(before) {
		t.Error("the older agent wrote into the state")
	}

	// The newer one is back, and goes on with what it finds.
	h.down = false
	later(t, true)
	h.restart()
	h.want(h.cycle(), "behind", "healthy", "two")
	if list, _ := h.a.Store.History(1); len(list) != 1 || list[0].Result != state.ResultInconclusive {
		t.Errorf("history %+v", list)
	}
}

// cutAt ends the process, as far as there is one, when a phase is on disk.
type cutAt struct {
	activate.Journal
	phase activate.Phase
	cut   context.CancelFunc
}

func (c cutAt) Save(a activate.Attempt) error {
	err := c.Journal.Save(a)
	if a.Phase == c.phase {
		c.cut()
	}
	return err
}

// seenAt tells of each phase.
type seenAt struct {
	activate.Journal
	tell func(activate.Phase)
}

func (j seenAt) Save(a activate.Attempt) error {
	j.tell(a.Phase)
	return j.Journal.Save(a)
}

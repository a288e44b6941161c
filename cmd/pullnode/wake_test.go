package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pullnode/internal/agent"
	"pullnode/sync"
)

// A network that comes up ends the wait after a failed poll.
func TestNetworkUpEndsBackOff(t *testing.T) {
	h := newHost(t, map[string]any{"schedule": map[string]any{"interval": "1h"}})
	h.want(h.cycle(), "in-sync", "healthy", "one")
	if err := os.Rename(h.r.Dir, h.r.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	h.a.Wake = func(context.Context) <-chan struct{} { return up }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.a.Run(ctx, func() {}) }()
	for i := range 9 { // until the next poll is an hour away
		h.until("failed once more", func(s agent.Status) bool { return s.Failure != nil && s.Failure.Count >= i+1 && s.Phase == "" })
		if i < 8 {
			h.ask(agent.Request{Verb: "sync"})
		}
	}
	h.until("waiting for long", func(s agent.Status) bool { return time.Until(s.Next) > 10*time.Minute })
	if err := os.Rename(h.r.Dir+".away", h.r.Dir); err != nil {
		t.Fatal(err)
	}
	up <- struct{}{}
	h.until("asked again", func(s agent.Status) bool { return s.Failure == nil && s.Sync == "in-sync" })
	close(up)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The report is followed wherever its directory comes and goes, and only one that
// says so wakes the agent.
func TestReportedUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sync")
	path := filepath.Join(dir, "report")
	up := reportedUp(t.Context(), path, slog.New(slog.DiscardHandler))
	for range 2 {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for end, told := time.Now().Add(time.Minute), false; !told; {
			if time.Now().After(end) {
				t.Fatal("nobody told")
			}
			write := func(r sync.Report) {
				r.Format = sync.StreamFormat
				raw, _ := json.Marshal(r)
				if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(path+".new", path); err != nil {
					t.Fatal(err)
				}
			}
			write(sync.Report{Class: sync.Unreachable, NetworkUp: true})
			select {
			case <-up:
				told = true
			case <-time.After(100 * time.Millisecond):
				continue
			}
			write(sync.Report{Class: sync.Unreachable})
			select {
			case <-up:
				t.Error("told of a failure")
			case <-time.After(200 * time.Millisecond):
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

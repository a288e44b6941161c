package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"pullnode/internal/durable"
	"pullnode/internal/registry"
	"pullnode/internal/state"
)

// Request is what root's command line asks of the agent, as a small file.
type Request struct {
	Verb   string        `json:"verb"`             // sync, retry, suspend, resume, rollback
	Commit string        `json:"commit,omitempty"` // retry: only this one
	For    time.Duration `json:"for,omitempty"`    // suspend: nanoseconds, 0 until resume
	To     int           `json:"to,omitempty"`     // rollback: the generation, 0 for the one before
}

// Put leaves a request for the agent whose run directory is given.
func Put(run string, r Request) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d-%d", time.Now().UnixNano(), os.Getpid())
	return durable.WriteFile(filepath.Join(run, "request", name), raw, 0o600)
}

// Run is the loop until ctx is done. It gives an error only where this process
// no longer knows the truth and must be started again; alive is called whenever
// the loop turns and while it waits, so it means that the agent is alive.
func (a *Agent) Run(ctx context.Context, alive func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(filepath.Join(a.Dirs.Run, "request")); err != nil {
		return fmt.Errorf("watch for requests: %w", err)
	}
	a.status.Started = a.Now().UTC()
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		// The cycle is a worker: whatever it waits for, this loop keeps turning.
		type end struct {
			wait time.Duration
			err  error
		}
		var done chan end
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			alive()
			continue
		case <-w.Events:
			if !a.takeRequests(ctx) {
				continue
			}
		case <-timer.C:
			a.takeRequests(ctx)
		}
		done = make(chan end, 1)
		go func() {
			wait, err := a.Cycle(ctx)
			done <- end{wait, err}
		}()
		for done != nil {
			select {
			case <-beat.C:
				alive()
			case e := <-done:
				if ctx.Err() != nil {
					return nil
				}
				if e.err != nil {
					return e.err
				}
				timer.Reset(e.wait)
				done = nil
			}
		}
	}
}

// takeRequests carries out what lies in the request directory, oldest first. It
// says whether there was anything.
func (a *Agent) takeRequests(ctx context.Context) bool {
	dir := filepath.Join(a.Dirs.Run, "request")
	list, err := os.ReadDir(dir)
	if err != nil {
		a.Log.Error("requests", "err", err)
		return false
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name() < list[j].Name() })
	any := false
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue // still being written
		}
		path := filepath.Join(dir, e.Name())
		raw, err := ReadForeign(path, 4<<10)
		if err == nil {
			err = os.Remove(path)
		}
		var r Request
		if err == nil {
			err = registry.Strict(raw, &r)
		}
		if err == nil {
			err = a.handle(ctx, r)
		}
		if err != nil {
			a.Log.Error("request", "file", e.Name(), "err", err)
			os.Remove(path)
			continue
		}
		any = true
	}
	return any
}

func (a *Agent) handle(ctx context.Context, r Request) error {
	a.Log.Info("request", "verb", r.Verb, "commit", r.Commit)
	switch r.Verb {
	case "sync":
		return nil
	case "suspend":
		return a.Store.Update(func(s *state.State) error {
			s.Suspended, s.SuspendedUntil = r.For == 0, nil
			if r.For > 0 {
				t := a.Now().Add(r.For).UTC()
				s.SuspendedUntil = &t
			}
			return nil
		})
	case "resume":
		a.status.Held, a.status.Judged, a.resumed = "", false, true
		return a.Store.Update(func(s *state.State) error {
			s.Suspended, s.SuspendedUntil, s.Hold, s.Failure = false, nil, nil, state.Failure{}
			return nil
		})
	case "retry":
		a.status.Held, a.status.Judged, a.resumed = "", false, true
		return a.Store.Update(func(s *state.State) error {
			for out, q := range s.Quarantine {
				if r.Commit == "" || strings.HasPrefix(q.Commit, r.Commit) {
					delete(s.Quarantine, out)
				}
			}
			s.Inconclusive, s.Hold = nil, nil
			return nil
		})
	case "rollback":
		return a.rollback(ctx, r.To)
	}
	return errors.New("unknown request " + r.Verb)
}

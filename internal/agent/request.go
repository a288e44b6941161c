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

	"pullnode/internal/durable"
	"pullnode/internal/registry"
	"pullnode/internal/state"
)

// Request is what root's command line asks of the agent, as a small file.
type Request struct {
	Verb   string        `json:"verb"`             // sync, retry, suspend, resume, rollback, push, trust
	Commit string        `json:"commit,omitempty"` // retry: only this one; trust: which; push: what it was built from, if known
	For    time.Duration `json:"for,omitempty"`    // suspend: nanoseconds, 0 until resume
	To     int           `json:"to,omitempty"`     // rollback: the generation, 0 for the one before
	Reason string        `json:"reason,omitempty"` // trust: for the history

	Toplevel string `json:"toplevel,omitempty"` // push: the system
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

// urgent says that it does not wait for the end of a build.
func (r Request) urgent() bool {
	return r.Verb == "suspend" || r.Verb == "rollback" || r.Verb == "push"
}

// takeRequests reads and removes what lies in the request directory, oldest
// first. What is no request is removed with a line in the log.
func (a *Agent) takeRequests() (taken []Request) {
	dir := filepath.Join(a.Dirs.Run, "request")
	list, err := os.ReadDir(dir)
	if err != nil {
		a.Log.Error("requests", "err", err)
		return nil
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name() < list[j].Name() })
	for _, e := range list {
		if strings.HasPrefix(e.Name(), ".") {
			continue // still being written
		}
		path := filepath.Join(dir, e.Name())
		raw, err := ReadForeign(path, 4<<10)
		err = errors.Join(err, os.Remove(path))
		var r Request
		if err == nil {
			err = registry.Strict(raw, &r)
		}
		if err != nil {
			a.Log.Error("request", "file", e.Name(), "err", err)
			continue
		}
		taken = append(taken, r)
	}
	return taken
}

func (a *Agent) handle(ctx context.Context, r Request) error {
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
	case "push":
		return a.push(ctx, r)
	case "trust":
		return a.trust(r)
	}
	return errors.New("unknown request " + r.Verb)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pullnode/activate"
	"pullnode/internal/state"
)

// The ends of the ids of tries that root asked for, by which an agent that the try
// restarts knows them.
const (
	rollbackTry = "-rollback"
	pushTry     = "-push"
)

// push tries a system that root brought, for the day when nothing can be pulled: by
// the same try, checks and guard as a commit's. T does not move: what the branch
// gives later is judged as ever.
func (a *Agent) push(ctx context.Context, r Request) error {
	e := state.Entry{Commit: r.Commit, Subject: "pushed", Toplevel: r.Toplevel}
	err := a.mayPush(ctx, &e)
	if err == nil && e.Result == "" {
		err = a.tryAsked(ctx, &e, pushTry)
		if a.Store.State().Attempt != nil || err == nil {
			return err // the history tells, now or when the try has ended
		}
	}
	if err != nil {
		e.Result, e.Why = state.ResultFailed, err.Error()
	}
	// Whoever pushed waits for a line of the history.
	e.Time = a.Now().UTC()
	return errors.Join(err, a.Store.Append(e))
}

// mayPush says what is wrong with a pushed system, or that it runs already.
func (a *Agent) mayPush(ctx context.Context, e *state.Entry) error {
	if a.Store.State().Attempt != nil {
		return errors.New("a try is under way")
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	if filepath.Dir(e.Toplevel) != filepath.Dir(string(f.Running)) {
		return fmt.Errorf("%q is not in the store", e.Toplevel)
	}
	if _, err := os.Stat(filepath.Join(e.Toplevel, "bin", "switch-to-configuration")); err != nil {
		return fmt.Errorf("%s is no system: %w", e.Toplevel, err)
	}
	if out := activate.StorePath(e.Toplevel); runs(f, out) && f.Default == out {
		e.Result, e.Why = state.ResultUnchanged, "it runs already"
	}
	return nil
}

// tryAsked tries a system that root asked for. A commit that waits goes on waiting
// where that system is put back.
func (a *Agent) tryAsked(ctx context.Context, e *state.Entry, kind string) error {
	a.asked = e
	defer func() { a.asked = nil }()
	if h, ok := a.Activator.Health.(*Health); ok && kind == pushTry {
		h.pushed = true
		defer func() { h.pushed = false }()
	}
	o, err := a.Activator.Try(ctx, a.newID()+kind, activate.StorePath(e.Toplevel), false)
	if err != nil {
		return err
	}
	waiting := a.pending
	a.pending = nil
	err = a.record(o)
	if o.Name != activate.Kept {
		a.pending = waiting
	}
	return err
}

// stays says what holds the node after a try that root asked for: the system that
// ran before must not come back by itself.
func (a *Agent) stays(at state.Attempt, before string, gen int) *state.Hold {
	h := &state.Hold{Since: a.Now().UTC(), Toplevel: before}
	switch {
	case before == "" || before == at.Candidate:
		return nil
	case strings.HasSuffix(at.ID, rollbackTry):
		h.Why = fmt.Sprintf("rolled back to generation %d; waiting for a commit with another system", gen)
	case strings.HasSuffix(at.ID, pushTry):
		h.Why = at.Candidate + " was pushed; waiting for a commit with it or with another system than the one before"
	default:
		return nil
	}
	return h
}

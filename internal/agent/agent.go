// Package agent is the loop of a node: ask, verify, build, try, keep or put
// back, and remember.
//
// One goroutine, Run, owns the cycle; what other processes see of it is what it
// wrote to disk. It parses nothing that is not verified, opens no connection and
// holds no secret. What it decides is in package sync (may it run) and package
// activate (did it do well); here is only the order, and what is shown.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"pullnode/activate"
	"pullnode/internal/config"
	"pullnode/internal/state"
	"pullnode/sync"
)

// Fetcher asks the process that talks to servers. Ask returns its report; an
// error means that the process did not answer. After a report of the class
// Moved the answer is in the file that the agent was given.
type Fetcher interface {
	Ask(ctx context.Context, w sync.Want) (sync.Report, error)
}

// Builder turns a verified commit into a system. See activate.Builder.
type Builder interface {
	Resolve(ctx context.Context, v sync.Verified) (activate.Candidate, error)
	Realise(ctx context.Context, c activate.Candidate) error
	Release(ctx context.Context, keep ...activate.StorePath) error
}

// ErrLater is wrapped by a Preflight that could not be made: it says nothing
// about the candidate and is made again later.
var ErrLater = errors.New("cannot be told now")

// Agent is one node's pull loop. Its exported fields are set before Run and not
// changed after.
type Agent struct {
	Config    *config.Config
	Store     *state.Store
	Fetcher   Fetcher
	Builder   Builder
	Activator *activate.Activator
	System    activate.System
	Dirs      Dirs
	Log       *slog.Logger
	Now       func() time.Time
	// Preflight looks at a built candidate before anything is touched. An error
	// refuses it, one that wraps ErrLater only puts it off. May be nil.
	Preflight func(ctx context.Context, v sync.Verified, c activate.Candidate) error
	// Tell is given the status in one line, of any text; may be nil.
	Tell func(string)
	// Wake tells when the network has come up, until ctx ends. It may end the
	// wait after a failed poll, and nothing else. May be nil.
	Wake func(ctx context.Context) <-chan struct{}
	// Random is uniform in [0, d); it spreads polls and retries of a fleet.
	Random func(time.Duration) time.Duration // uniform in [0, d)

	pending *pending     // owned by the goroutine of Run
	asked   *state.Entry // what a rollback goes back to, while it does
	held    bool         // GC roots of a candidate are there, to be looked through
	resumed bool         // the operator asked to go on: a foreign generation is given up
	// building ends when an urgent request comes, for what may be done again.
	building context.Context
	status   Status
	told     string // what Tell was given last
	putBack  bool   // stopped: what was in flight is dealt with
	lost     lost   // what is known while the state cannot be read
	// below are the ancestors of the T that they are of, as the file has them:
	// every poll asks, and there may be many thousands.
	below struct {
		of    string
		known map[sync.ID]bool
	}
}

// pending is an accepted tip that is not yet dealt with. It lives in memory
// only: after a restart the answer is asked for again and verified again.
type pending struct {
	verified sync.Verified
	since    time.Time
	retryAt  time.Time
	tries    int
}

// Cycle asks once and does whatever there is to do. It gives how long to wait
// until the next one. An error means that this process no longer knows the truth
// and must be started again.
func (a *Agent) Cycle(ctx context.Context) (time.Duration, error) {
	a.Activator.Progress = a.progress
	if err := a.Store.Blocked(); err != nil {
		return a.stopped(ctx, err)
	}
	if o, ok, err := a.Activator.Resume(ctx); err != nil {
		return 0, err
	} else if ok {
		if err := a.record(o); err != nil {
			return 0, err
		}
	}
	wait := a.ask(ctx)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := a.drifted(ctx); err != nil {
		return 0, err
	}
	if a.pending != nil && !a.suspended() && !a.Now().Before(a.pending.retryAt) {
		if err := a.deploy(ctx); err != nil {
			return 0, err
		}
		a.resumed = false
	}
	if err := a.release(ctx); err != nil {
		a.Log.Error("GC roots", "err", err)
	}
	if a.pending != nil && !a.pending.retryAt.IsZero() {
		wait = min(wait, max(a.pending.retryAt.Sub(a.Now()), time.Second))
	}
	a.status.Phase = ""
	a.show(ctx, wait)
	return wait, ctx.Err()
}

// ask polls the remotes and verifies what came. It gives the time to wait until
// the next poll.
func (a *Agent) ask(ctx context.Context) time.Duration {
	want, err := a.want()
	if err != nil {
		return a.pollFailed("state", err.Error(), 0)
	}
	rep, err := a.Fetcher.Ask(ctx, want)
	if err != nil {
		return a.pollFailed(string(sync.Internal), "the fetching process did not answer: "+err.Error(), 0)
	}
	a.status.Remote, a.status.Protocol = rep.Remote, rep.Protocol
	switch rep.Class {
	case sync.Unchanged:
	case sync.Moved:
		if err := a.verify(want); err != nil {
			return a.pollFailed("answer", err.Error(), 0)
		}
	default:
		return a.pollFailed(string(rep.Class), rep.Text, rep.RetryAfter)
	}
	if a.Store.State().Failure.Count > 0 {
		if err := a.Store.Update(func(s *state.State) error { s.Failure = state.Failure{}; return nil }); err != nil {
			a.Log.Error("state", "err", err)
		}
	}
	a.status.Polled = a.Now()
	return a.interval()
}

// want numbers a new request. The number is on disk before it is used, so that
// no later request can have it again.
func (a *Agent) want() (sync.Want, error) {
	err := a.Store.Update(func(s *state.State) error { s.Request++; return nil })
	if err != nil {
		return sync.Want{}, err
	}
	s := a.Store.State()
	w := a.request(s.Request)
	w.Trusted, w.TrustedParents = s.Trusted.Commit, s.Trusted.Parents
	if w.Trusted == "" {
		intro, err := sync.ParseIntroduction(a.Config.Introduction)
		if err != nil {
			return w, err
		}
		w.Trusted = string(intro.Commit)
	}
	w.Ancestry = !a.haveAncestors(w.Trusted)
	// What is pending lives in memory, so a fresh process must see the tip once.
	if a.status.Judged && !w.Ancestry {
		w.Known = s.KnownTip
	}
	return w, nil
}

func (a *Agent) request(n uint64) sync.Want {
	w := sync.Want{Format: sync.StreamFormat, Request: n, Branch: a.Config.Branch}
	for _, r := range a.Config.Remotes {
		w.Remotes = append(w.Remotes, sync.WantRemote{Name: r.Name, URL: r.URL})
	}
	return w
}

func (a *Agent) suspended() bool {
	s := a.Store.State()
	return s.Suspended || (s.SuspendedUntil != nil && a.Now().Before(*s.SuspendedUntil))
}

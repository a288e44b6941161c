package agent

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"pullnode/activate"
	"pullnode/internal/config"
	"pullnode/internal/state"
	"pullnode/keysrc"
)

// deploy brings the pending commit as far as it goes. An error means that the
// truth is unknown; everything that is merely wrong with the commit is recorded.
func (a *Agent) deploy(ctx context.Context) error {
	p := a.pending
	c := p.verified.Commit()
	log := a.Log.With("commit", string(c.ID))
	a.phase(ctx, "building", c.Subject())
	a.held = true
	build := a.building
	if build == nil {
		build = ctx
	}
	cand, err := a.Builder.Resolve(build, p.verified)
	if err != nil {
		return a.buildFailed(ctx, build, err)
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	if a.settled(f, cand.Out) {
		log.Info("nothing to do", "toplevel", cand.Out)
		if runs(f, cand.Out) {
			a.upgrade()
		}
		return a.unchanged(cand.Out)
	}
	if err := a.foreign(f, cand.Out); err != nil {
		return err
	}
	if why := a.heldBack(f, cand.Out); why != "" {
		a.pending.retryAt = a.nextTry(cand.Out)
		if a.pending.retryAt.IsZero() {
			a.pending = nil
		}
		a.status.Held = why
		return nil
	}
	a.status.Held = ""
	if err := a.Builder.Realise(build, cand); err != nil {
		return a.buildFailed(ctx, build, err)
	}
	if a.Preflight != nil {
		err := a.Preflight(build, p.verified, cand)
		if build.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return a.refuse(cand.Out, err)
		}
	}
	if build.Err() != nil {
		return ctx.Err()
	}
	switch a.Config.Operation {
	case config.Observe:
		return a.finish(state.Entry{Result: state.ResultUnchanged, Toplevel: string(cand.Out), Why: "built; operation is observe"}, nil)
	case config.Boot:
		return a.forNextBoot(ctx, cand.Out)
	}
	o, err := a.Activator.Try(ctx, a.newID(), cand.Out, a.Config.Operation == config.Test)
	if err != nil {
		return err
	}
	return a.record(o)
}

// settled says whether the machine already is what the commit means. It asks the
// machine, never the history: a reverted revert must still be deployed.
func (a *Agent) settled(f activate.Facts, out activate.StorePath) bool {
	switch a.Config.Operation {
	case config.Boot:
		return f.Default == out
	case config.Test:
		return runs(f, out)
	}
	return runs(f, out) && f.Default == out
}

// heldBack says why this system is not tried now, or nothing.
func (a *Agent) heldBack(f activate.Facts, out activate.StorePath) string {
	s := a.Store.State()
	if q, ok := s.Quarantine[string(out)]; ok {
		return "this system was tried and is bad: " + q.Reason
	}
	if i, ok := s.Inconclusive[string(out)]; ok && a.Now().Before(i.Next) {
		return "the last try proved nothing: " + i.Reason
	}
	if s.Hold != nil && s.Hold.Toplevel == string(out) {
		return s.Hold.Why
	}
	return ""
}

func (a *Agent) nextTry(out activate.StorePath) time.Time {
	return a.Store.State().Inconclusive[string(out)].Next
}

func (a *Agent) newID() string { return strconv.FormatUint(a.Store.State().Request, 36) }

// Meta tells the journal what only the agent knows of an attempt.
func (a *Agent) Meta(at *state.Attempt) {
	at.Started = a.Now().UTC()
	if a.asked != nil {
		at.Commit, at.Subject, at.Signer = a.asked.Commit, a.asked.Subject, a.asked.Signer
		return
	}
	if a.pending == nil {
		return
	}
	c := a.pending.verified.Commit()
	at.Commit, at.Digest, at.Subject, at.Signer = string(c.ID), string(c.Digest), c.Subject(), a.pending.verified.Signer()
}

// record stores what became of a try and forgets the journal in one write.
func (a *Agent) record(o activate.Outcome) error {
	at := a.Store.State().Attempt
	if at == nil {
		return errors.New("a try ended that was never begun")
	}
	e := state.Entry{Commit: at.Commit, Subject: at.Subject, Signer: at.Signer, Toplevel: at.Candidate,
		Took: a.Now().Sub(at.Started), Why: o.Why, Generation: o.Generation}
	a.Log.Info("try ended", "outcome", string(o.Name), "commit", at.Commit, "why", o.Why)
	e.Result = map[activate.OutcomeName]string{activate.Kept: state.ResultKept, activate.Reverted: state.ResultReverted,
		activate.Inconclusive: state.ResultInconclusive, activate.Stuck: state.ResultStuck, activate.NeedsReboot: state.ResultNeedsReboot}[o.Name]
	if e.Result == "" {
		e.Result = state.ResultFailed
	}
	proven := o.Strike && a.Store.State().Inconclusive[at.Candidate].Strikes > 0
	if proven {
		e.Result, e.Why = state.ResultReverted, o.Why+"; so it was in an earlier try, and the old system is well"
	}
	err := a.finish(e, func(s *state.State) {
		switch o.Name {
		case activate.Kept:
			s.Hold = a.stays(*at, s.Deployed.Toplevel, o.Generation)
			s.Deployed = state.Deployed{Commit: at.Commit, Digest: at.Digest, Toplevel: at.Candidate, Generation: o.Generation, When: a.Now().UTC()}
			if at.Commit != "" {
				a.origin(s, at.Candidate, at.Commit, at.Digest)
			}
			delete(s.Inconclusive, at.Candidate)
		case activate.Reverted, activate.Stuck:
			a.quarantine(s, at.Candidate, o.Why, at.Commit)
		case activate.Inconclusive:
			if proven {
				a.quarantine(s, at.Candidate, e.Why, at.Commit)
				delete(s.Inconclusive, at.Candidate)
				break
			}
			a.inconclusive(s, at.Candidate, o.Why, at.Commit, o.Strike)
		}
		s.Attempt = nil
	})
	if err == nil && o.Name == activate.Kept {
		a.upgrade()
	}
	return err
}

// upgrade lets the state have this program's own schema, once the system that it
// came with has proven itself: until then an older agent may be put back, and
// must be able to read it. What fails is done after the next try.
func (a *Agent) upgrade() {
	if err := a.Store.Upgrade(); err != nil {
		a.Log.Error("state", "err", err)
	}
}

// finish writes the state and a line of history, and lets go of the pending
// commit unless something will be tried again.
func (a *Agent) finish(e state.Entry, change func(*state.State)) error {
	if a.pending != nil && e.Commit == "" {
		c := a.pending.verified.Commit()
		e.Commit, e.Subject, e.Signer = string(c.ID), c.Subject(), a.pending.verified.Signer()
		e.Took = a.Now().Sub(a.pending.since)
	}
	e.Time = a.Now().UTC()
	err := a.Store.Update(func(s *state.State) error {
		if change != nil {
			change(s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	retry := e.Result == state.ResultInconclusive || e.Result == state.ResultFailed
	if a.pending != nil && !retry {
		a.pending = nil
	} else if a.pending != nil {
		a.again()
	}
	return a.Store.Append(e)
}

// again sets when the pending commit is tried once more.
func (a *Agent) again() {
	p := a.pending
	d := min(5*time.Minute<<min(p.tries, 10), 6*time.Hour)
	d = min(d, max(a.Config.Schedule.Interval.D(), time.Second)<<min(p.tries, 10))
	p.tries++
	p.retryAt = a.Now().Add(d/2 + a.Random(d/2+1))
}

func (a *Agent) unchanged(out activate.StorePath) error {
	s := a.Store.State()
	c := a.pending.verified.Commit()
	// The branch means what runs: nothing is held back any more.
	free := s.Hold != nil && s.Hold.Toplevel != string(out)
	if s.Deployed.Commit == string(c.ID) && s.Deployed.Toplevel == string(out) {
		a.pending = nil
		if !free {
			return nil
		}
		return a.Store.Update(func(s *state.State) error { s.Hold = nil; return nil })
	}
	gen := s.Deployed.Generation
	if s.Deployed.Toplevel != string(out) {
		gen = 0 // somebody else made it the default, under a number that nobody told
	}
	return a.finish(state.Entry{Result: state.ResultUnchanged, Toplevel: string(out), Generation: gen}, func(s *state.State) {
		if free {
			s.Hold = nil
		}
		s.Deployed = state.Deployed{Commit: string(c.ID), Digest: string(c.Digest), Toplevel: string(out), Generation: gen, When: a.Now().UTC()}
		a.origin(s, string(out), string(c.ID), string(c.Digest))
	})
}

func (a *Agent) forNextBoot(ctx context.Context, out activate.StorePath) error {
	gen, err := a.System.SetProfile(ctx, out)
	if err == nil {
		err = a.System.Boot(ctx, a.newID(), out)
	}
	if err != nil {
		return a.finish(state.Entry{Result: state.ResultFailed, Toplevel: string(out), Why: err.Error()}, nil)
	}
	c := a.pending.verified.Commit()
	return a.finish(state.Entry{Result: state.ResultKept, Toplevel: string(out), Generation: gen, Why: "runs from the next boot on"}, func(s *state.State) {
		s.Deployed = state.Deployed{Commit: string(c.ID), Digest: string(c.Digest), Toplevel: string(out), Generation: gen, When: a.Now().UTC()}
		a.origin(s, string(out), string(c.ID), string(c.Digest))
	})
}

// refuse records a candidate that was built but may not be tried, or not yet.
func (a *Agent) refuse(out activate.StorePath, why error) error {
	c := a.pending.verified.Commit()
	a.Log.Warn("not tried", "commit", string(c.ID), "why", why)
	a.status.BuildHint = ""
	result := state.ResultRefused
	if errors.Is(why, ErrLater) {
		result = state.ResultFailed
	}
	if files := (*keysrc.PreflightError)(nil); errors.As(why, &files) {
		a.status.BuildHint = "add this host to .sops.yaml, run sops updatekeys on each file, commit"
	}
	// No quarantine: what is missing may come with another commit that gives the
	// same system, such as one with a retire trailer.
	return a.finish(state.Entry{Result: result, Commit: string(c.ID), Subject: c.Subject(),
		Signer: a.pending.verified.Signer(), Toplevel: string(out), Why: why.Error()}, nil)
}

// buildFailed records a commit that gave no system. What may be better next time
// is tried again, what cannot be waits for the next commit.
func (a *Agent) buildFailed(ctx, build context.Context, err error) error {
	if build.Err() != nil {
		return ctx.Err() // ended by a request: nothing is known of the commit
	}
	b := asBuildError(err)
	a.Log.Warn("no system", "class", b.Class, "err", b.Text)
	e := state.Entry{Result: state.ResultRefused, Why: b.Text}
	if b.Tail != "" && !strings.HasSuffix(b.Text, b.Tail) {
		e.Why += "\n" + b.Tail
	}
	if b.Temporary() || b.Class == "build" || b.Class == "nix" {
		e.Result = state.ResultFailed
	}
	a.status.BuildHint = buildHint(b)
	return a.finish(e, nil)
}

func (a *Agent) quarantine(s *state.State, out, why, commit string) {
	if s.Quarantine == nil {
		s.Quarantine = map[string]state.Quarantined{}
	}
	q := s.Quarantine[out]
	s.Quarantine[out] = state.Quarantined{Reason: why, Commit: commit, When: a.Now().UTC(), Tries: q.Tries + 1}
}

// inconclusive sets when a system that proved nothing is tried again: soon at
// first, and after three times no sooner than in six hours.
func (a *Agent) inconclusive(s *state.State, out, why, commit string, strike bool) {
	if s.Inconclusive == nil {
		s.Inconclusive = map[string]state.Inconclusive{}
	}
	i := s.Inconclusive[out]
	waits := []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour}
	d := waits[min(i.Tries, len(waits)-1)]
	if strike {
		i.Strikes++
	}
	s.Inconclusive[out] = state.Inconclusive{Reason: why, Commit: commit, When: a.Now().UTC(), Next: a.Now().Add(d).UTC(), Tries: i.Tries + 1, Strikes: i.Strikes}
}

func (a *Agent) origin(s *state.State, out, commit, digest string) {
	if s.Origins == nil {
		s.Origins = map[string]state.Origin{}
	}
	s.Origins[out] = state.Origin{Commit: commit, Digest: digest}
}

// release gives up the GC roots of what is not needed any more, after something
// was built or tried.
func (a *Agent) release(ctx context.Context) error {
	if !a.held {
		return nil
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	s := a.Store.State()
	keep := []activate.StorePath{f.Running, f.Default, activate.StorePath(s.Deployed.Toplevel)}
	for out := range s.Inconclusive {
		keep = append(keep, activate.StorePath(out)) // to be tried again
	}
	err = a.Builder.Release(ctx, keep...)
	a.held = err != nil
	return err
}

// phase says what the agent is at, for as long as that takes.
func (a *Agent) phase(ctx context.Context, name, subject string) {
	a.status.Phase = strings.TrimSpace(name + " " + subject)
	a.show(ctx, 0)
}

package activate

import (
	"context"
	"fmt"
	"time"
)

// arm starts the guard and then the switch. Trying is stored before the switch
// is started, so a switch that runs always has its phase on disk.
func (a *Activator) arm(ctx context.Context, at *Attempt) error {
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	if err := a.System.Arm(ctx, Guard{ID: at.ID, After: max(at.Deadline-f.Now, 0), Old: at.Prev}); err != nil {
		return fmt.Errorf("the guard could not be armed: %w", err)
	}
	if err := a.to(ctx, at, Trying); err != nil {
		return err
	}
	return a.System.StartTest(ctx, at.ID, at.Candidate)
}

// wait follows the switch to its end and sorts its exit status. Only what
// proves that nothing good can come of it reverts here; health decides the rest.
func (a *Activator) wait(ctx context.Context, at *Attempt) (Outcome, bool, error) {
	r, err := a.result(ctx, at.ID)
	if err != nil {
		return Outcome{}, false, err
	}
	undo := func(inconclusive bool, format string, args ...any) (Outcome, bool, error) {
		at.Reason, at.Inconclusive = fmt.Sprintf(format, args...), inconclusive
		return Outcome{}, false, a.to(ctx, at, Reverting)
	}
	untouched := func(name OutcomeName, why string) (Outcome, bool, error) {
		if d, err := a.System.Decide(at.ID, Confirm); err != nil || d != Confirm {
			return undo(true, "the guard reverted while %s", why)
		}
		if err := a.System.Disarm(ctx, at.ID); err != nil {
			return Outcome{}, false, err
		}
		o, err := a.end(*at, Outcome{Name: name, Why: why})
		return o, true, err
	}
	switch {
	case r.Lost:
		return undo(true, "the switch ended without leaving a result")
	case r.Signal != "":
		return undo(r.Signal != "timeout", "the switch was ended by %s", r.Signal)
	case r.Exit == 11:
		return untouched(NotStarted, "another switch holds the lock")
	case r.Exit == 100:
		return untouched(NeedsReboot, "this system can only be reached by a reboot")
	case r.Exit == 1:
		f, err := a.System.Facts(ctx)
		if err != nil {
			return Outcome{}, false, err
		}
		switch {
		case f.Running != at.Prev:
			return undo(false, "switch-to-configuration failed (exit status 1)")
		case f.HalfSwitched:
			// It has stopped units, and could not go on: systemd, logind or the
			// bus did not answer.
			return undo(true, "switch-to-configuration stopped half way (exit status 1)")
		}
		return untouched(NotStarted, "switch-to-configuration refused before it changed anything (exit status 1), by a pre-switch check of the new system or for what it found here")
	case r.Exit != 0 && r.Exit != 4:
		return undo(false, "activation failed (exit status %d)", r.Exit)
	}
	return Outcome{}, false, a.to(ctx, at, Checking)
}

// result waits for the run to end. Errors are unknown, not gone: it asks again
// until the switch's own limit has passed twice.
func (a *Activator) result(ctx context.Context, id string) (Result, error) {
	poll := a.Poll
	if poll == 0 {
		poll = 200 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, 2*a.SwitchTimeout)
	defer cancel()
	for {
		r, err := a.System.Result(ctx, id)
		if err == nil && (r.Done || r.Lost) {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("switch %s: %w (last: %v)", id, ctx.Err(), err)
		case <-time.After(poll):
		}
	}
}

func (a *Activator) check(ctx context.Context, at *Attempt) error {
	j := a.Health.Judge(ctx, at.Baseline)
	if err := ctx.Err(); err != nil {
		return err // this process is stopping: that says nothing of the system
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return err
	}
	switch {
	case f.Running != at.Candidate:
		// The guard was faster, or somebody switched by hand.
		at.Reason, at.Inconclusive = fmt.Sprintf("%s runs, not the candidate", f.Running), true
	case j.Healthy:
		return a.to(ctx, at, Committing)
	default:
		at.Reason, at.Inconclusive, at.Report = j.Why, j.Inconclusive, j.Report
	}
	return a.to(ctx, at, Reverting)
}

// commit makes the candidate the boot default. Every step may run twice.
func (a *Activator) commit(ctx context.Context, at Attempt) (Outcome, error) {
	d, err := a.System.Decide(at.ID, Confirm)
	if err != nil {
		return Outcome{}, err
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case d == Revert:
		at.Reason = "the guard reverted before the system could be confirmed"
	case f.Running != at.Candidate:
		at.Reason = fmt.Sprintf("%s runs, not the candidate", f.Running)
	}
	if at.Reason != "" {
		at.Inconclusive = true
		if err := a.to(ctx, &at, Reverting); err != nil {
			return Outcome{}, err
		}
		return a.run(ctx, at)
	}
	if err := a.System.Disarm(ctx, at.ID); err != nil {
		return Outcome{}, err
	}
	o := Outcome{Name: Kept}
	if !at.KeepDefault {
		if o.Generation, err = a.makeDefault(ctx, at.Candidate, func() error { return a.System.Boot(ctx, at.ID, at.Candidate) }); err != nil {
			if ctx.Err() != nil {
				return Outcome{}, err
			}
			// A node that waited here for a boot loader to get well could not
			// even pull the fix.
			at.Reason, at.Inconclusive = "healthy, but "+err.Error(), true
			if err := a.to(ctx, &at, Reverting); err != nil {
				return Outcome{}, err
			}
			return a.run(ctx, at)
		}
	}
	return a.end(at, o)
}

// makeDefault makes p what boots next; boot writes the boot loader. It tries three
// times: a full /boot may be of short duration, and what has to be undone otherwise is
// a healthy system.
func (a *Activator) makeDefault(ctx context.Context, p StorePath, boot func() error) (generation int, err error) {
	for try := 1; ; try++ {
		if generation, err = a.System.SetProfile(ctx, p); err != nil {
			err = fmt.Errorf("the system profile could not be set: %w", err)
		} else if err = boot(); err != nil {
			err = fmt.Errorf("the boot loader could not be written: %w", err)
		}
		if err == nil || try == 3 {
			return generation, err
		}
		if a.rest(ctx) != nil {
			return 0, err
		}
	}
}

// putBack switches to the old system, three times at most: what ended one run,
// such as the kernel out of memory, need not end the next, and nothing but this
// brings the machine back. Each run has an id of its own, because a run that was
// started once is not started again.
func (a *Activator) putBack(ctx context.Context, at *Attempt) (f Facts, r Result, err error) {
	for try := 1; ; try++ {
		id := fmt.Sprintf("%s-revert-%d", at.ID, try)
		// Even where the link already points at the old system its units may be
		// half switched: only a whole run of its own says that they are not.
		if err := a.System.StartBack(ctx, id, at.Prev); err != nil {
			return f, r, err
		}
		if r, err = a.result(ctx, id); err != nil {
			return f, r, err
		}
		if f, err = a.System.Facts(ctx); err != nil || back(f, r, at) || try == 3 {
			return f, r, err
		}
		if err := a.rest(ctx); err != nil {
			return f, r, err
		}
	}
}

// back says whether a run brought the old system back. Units that fail (4) also
// failed before, or health will tell.
func back(f Facts, r Result, at *Attempt) bool {
	return r.Signal == "" && !r.Lost && (r.Exit == 0 || r.Exit == 4) && f.Running == at.Prev
}

// rest waits before something is done once more.
func (a *Activator) rest(ctx context.Context) error {
	pause := a.Pause
	if pause == 0 {
		pause = 5 * time.Second
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// revert puts the recorded old system back.
func (a *Activator) revert(ctx context.Context, at *Attempt) (Outcome, bool, error) {
	if _, err := a.System.Decide(at.ID, Revert); err != nil {
		return Outcome{}, false, err
	}
	if err := a.System.StopTest(ctx, at.ID); err != nil {
		return Outcome{}, false, err
	}
	if err := a.System.Disarm(ctx, at.ID); err != nil {
		return Outcome{}, false, err
	}
	f, r, err := a.putBack(ctx, at)
	if err != nil {
		return Outcome{}, false, err
	}
	if !back(f, r, at) {
		o, err := a.end(*at, Outcome{Name: Stuck, Why: fmt.Sprintf("%s; and %s would not switch back (%v)", at.Reason, at.Prev, r)})
		return o, true, err
	}
	if f.Default == at.Candidate && at.PrevDefault != at.Candidate && at.PrevDefault != "" {
		if _, err := a.makeDefault(ctx, at.PrevDefault, func() error { return a.System.BootBack(ctx, at.ID, at.PrevDefault) }); err != nil {
			if ctx.Err() != nil {
				return Outcome{}, false, err
			}
			o, err := a.end(*at, Outcome{Name: Stuck, Why: fmt.Sprintf("%s; and %s would not become the boot default again: %v", at.Reason, at.PrevDefault, err)})
			return o, true, err
		}
	}
	return Outcome{}, false, a.to(ctx, at, Judging)
}

// judge asks on the old system whether what failed is any better there. If not,
// the candidate is not proven bad.
func (a *Activator) judge(ctx context.Context, at Attempt) (Outcome, error) {
	if at.Report == nil {
		// What put it back was no check, so there is nothing to ask again.
		o := Outcome{Name: Reverted}
		if at.Inconclusive {
			o.Name = Inconclusive
		}
		return a.end(at, o)
	}
	j := a.Health.Recheck(ctx, at.Baseline, at.Report)
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	switch {
	case !j.Healthy && !at.Inconclusive:
		return a.end(at, Outcome{Name: Inconclusive, Why: at.Reason + "; but it fails on the old system too"})
	case at.Inconclusive:
		return a.end(at, Outcome{Name: Inconclusive, Strike: j.Healthy})
	}
	return a.end(at, Outcome{Name: Reverted})
}

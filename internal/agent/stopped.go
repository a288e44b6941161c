package agent

import (
	"context"
	"errors"
	"time"

	"pullnode/activate"
	"pullnode/internal/state"
)

// stopped is the cycle of an agent whose state may not be written: it puts back
// what it finds in flight, where it can tell, and then waits for somebody. It
// ends with no error, so that it is not started again and again to find the same.
// Where the state is only lost it goes on asking, to show what there is.
func (a *Agent) stopped(ctx context.Context, why error) (time.Duration, error) {
	if at := a.Store.State().Attempt; at != nil && !a.putBack {
		o, ok, err := a.Activator.PutBack(ctx, fromState(*at), "another pullnode started in the middle of the try: "+why.Error())
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil:
			a.status.Held = err.Error()
			a.Log.Error("what is in flight was not put back", "err", err)
		default:
			a.putBack = true
		}
		if ok {
			a.status.Held = string(at.Candidate) + " was put back: " + string(o.Name)
			a.Log.Warn("put back", "candidate", at.Candidate, "outcome", string(o.Name), "why", o.Why)
		}
	}
	wait, next := a.interval(), time.Duration(0)
	if errors.Is(why, state.ErrUnreadable) {
		wait = a.look(ctx)
		next = wait
	}
	a.status.Phase = ""
	a.show(ctx, next)
	return wait, ctx.Err()
}

// showStopped is gather's part for a state that may not be written.
func (st *Status) showStopped(why error, f activate.Facts, l lost) {
	st.Sync, st.Why, st.Toplevel = "stopped", []string{why.Error()}, string(f.Running)
	if st.Held != "" {
		st.Why = append(st.Why, st.Held)
	}
	if errors.Is(why, state.ErrNewerSchema) {
		st.Hint = "boot or switch to the newer system again, or install a pullnode at least as new: nothing is asked or deployed until then"
		return
	}
	st.Why = append(st.Why, "this node no longer knows which commits it must not go back to, and deploys nothing")
	st.showLost(l)
}

// tell gives the service manager the status in one line, when it has changed.
func (a *Agent) tell(st Status) {
	line := st.Sync
	switch {
	case st.Phase != "":
		line = st.Phase
	case len(st.Why) > 0:
		line += ": " + st.Why[0]
	}
	if a.Tell != nil && line != a.told {
		a.Tell(line)
		a.told = line
	}
}

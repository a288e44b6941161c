package activate

import (
	"context"
	"fmt"
)

// PutBack puts the old system of an attempt back without a journal, for a process
// that can read the attempt but must not write: it belongs to another version of
// this program, which finds it as it was and goes on with it. Doing it twice is no
// error. It touches nothing when nothing was begun, when the try was confirmed,
// or when the machine has rebooted since: then the old system runs already.
//
// The outcome is Inconclusive, or Stuck; ok is false when there was nothing to
// put back. An error means that the truth is unknown.
func (a *Activator) PutBack(ctx context.Context, at Attempt, why string) (o Outcome, ok bool, err error) {
	if at.ID == "" || at.Prev == "" || at.Phase == Prepared {
		return Outcome{}, false, nil
	}
	f, err := a.System.Facts(ctx)
	if err != nil || f.BootID != at.BootID {
		return Outcome{}, false, err
	}
	d, err := a.System.Decide(at.ID, Revert)
	if err != nil || d == Confirm {
		return Outcome{}, false, err
	}
	own := *a
	own.Journal, own.Progress = unwritten{}, nil
	at.Phase, at.Reason = Reverting, why
	o, stuck, err := own.revert(ctx, &at)
	if err != nil {
		return Outcome{}, false, fmt.Errorf("put %s back: %w", at.Prev, err)
	}
	if !stuck {
		o = Outcome{Name: Inconclusive, Attempt: at, Why: why}
	}
	return o, true, nil
}

// unwritten is the journal of somebody who must not write.
type unwritten struct{}

func (unwritten) Save(Attempt) error           { return nil }
func (unwritten) Load() (Attempt, bool, error) { return Attempt{}, false, nil }
func (unwritten) End() error                   { return nil }

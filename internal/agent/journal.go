package agent

import (
	"errors"
	"time"

	"pullnode/activate"
	"pullnode/internal/state"
)

// Journal keeps activate's attempt in the state file.
type Journal struct {
	Store *state.Store
	// Meta fills in what only the agent knows of a new attempt.
	Meta func(*state.Attempt)
}

var errLoop = errors.New("the try was stored too often; it goes in circles")

// Save stores the attempt.
func (j Journal) Save(at activate.Attempt) error {
	var loop bool
	err := j.Store.Update(func(s *state.State) error {
		n := state.Attempt{}
		if s.Attempt != nil && s.Attempt.ID == at.ID {
			n = *s.Attempt
		} else if j.Meta != nil {
			j.Meta(&n)
		}
		n.ID, n.Phase = at.ID, string(at.Phase)
		n.Candidate, n.Prev, n.PrevDefault = string(at.Candidate), string(at.Prev), string(at.PrevDefault)
		n.BootID, n.Deadline, n.Baseline = at.BootID, int64(at.Deadline), at.Baseline
		n.Reason, n.Inconclusive, n.Report, n.KeepDefault = at.Reason, at.Inconclusive, at.Report, at.KeepDefault
		s.Attempt = &n
		loop = s.Looping()
		return nil
	})
	if err == nil && loop && at.Phase != activate.Reverting && at.Phase != activate.Judging {
		return errLoop
	}
	return err
}

// Load gives the stored attempt.
func (j Journal) Load() (activate.Attempt, bool, error) {
	s := j.Store.State()
	if s.Attempt == nil {
		return activate.Attempt{}, false, nil
	}
	at := fromState(*s.Attempt)
	at.Looping = s.Looping()
	return at, true, nil
}

func fromState(s state.Attempt) activate.Attempt {
	return activate.Attempt{ID: s.ID, Phase: activate.Phase(s.Phase), Candidate: activate.StorePath(s.Candidate),
		Prev: activate.StorePath(s.Prev), PrevDefault: activate.StorePath(s.PrevDefault), BootID: s.BootID,
		Deadline: time.Duration(s.Deadline), Baseline: s.Baseline, Reason: s.Reason, Inconclusive: s.Inconclusive, Report: s.Report, KeepDefault: s.KeepDefault}
}

// End leaves the attempt in place: record takes it out in the same write that
// stores what became of it, so that no crash in between can lose the outcome.
func (j Journal) End() error { return nil }

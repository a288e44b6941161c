package health

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// systemdTimeout bounds all questions to systemd in one round.
const systemdTimeout = 10 * time.Second

// quality is what one round came to.
type quality int

const (
	isGood     quality = iota
	isUnclear          // something that counts could not be asked
	isStarting         // something that counts is not ready yet
	isBad
	isHopeless // no later round can be better
)

// round asks everything once.
func (j Judge) round(ctx context.Context, seen *restarts) (r Report, q quality) {
	note := func(is quality) { q = max(q, is) }
	r.Checks = j.Ask.each(ctx, j.Checks)
	for i := range r.Checks {
		c := &r.Checks[i]
		w := j.Baseline.weigh(j.Checks[i])
		c.Counts = w != advisory
		switch {
		case !c.Counts || c.State == OK:
		case c.State == Unknown || w == doubtful:
			note(isUnclear)
		case c.State == NotYet:
			note(isStarting)
		default:
			note(isBad)
		}
	}
	if err := j.units(ctx, seen, &r, note); err != nil {
		note(isUnclear)
		r.Checks = append(r.Checks, Result{Name: "units", State: Unknown, Text: clean(err.Error()), Counts: true})
	}
	return r, q
}

// units looks for newly failed units and for restarts.
func (j Judge) units(ctx context.Context, seen *restarts, r *Report, note func(quality)) error {
	if j.Systemd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, systemdTimeout)
	defer cancel()
	var errs []error
	failed, err := j.Systemd.Failed(ctx)
	if err != nil {
		errs = append(errs, fmt.Errorf("ask systemd for failed units: %w", err))
	}
	for _, u := range j.Baseline.newlyFailed(failed, j.Ignore) {
		if j.Counts != nil && !j.Counts(u) {
			r.OtherFailed = append(r.OtherFailed, u)
			continue
		}
		r.FailedUnits = append(r.FailedUnits, u)
		note(isBad)
	}
	for _, name := range j.Watch {
		u, err := j.Systemd.Unit(ctx, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("ask systemd for %s: %w", name, err))
			continue
		}
		if n := seen.since(name, u.NRestarts); n > j.AllowRestarts[name] {
			if r.Restarts == nil {
				r.Restarts = map[string]uint32{}
			}
			r.Restarts[name] = n
			note(isHopeless)
		}
	}
	return errors.Join(errs...)
}

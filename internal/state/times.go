package state

import (
	"fmt"
	"time"
)

// farAhead is how far in the future a stored time may be. A clock that once
// jumped years ahead must not stop the node for years.
const farAhead = 16 * 24 * time.Hour

// clockSet is before the first release: a clock that shows less has not been
// set since the machine lost its battery, and proves nothing about stored times.
var clockSet = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// dropFarTimes clears every time that is too far ahead. While the clock is not
// set only those go that would merely be waited for: a suspension must not end
// because a battery is empty.
func dropFarTimes(s *State, now time.Time) (alerts []string) {
	limit := now.Add(farAhead)
	drop := func(name string, t *time.Time) {
		if t.After(limit) {
			alerts = append(alerts, fmt.Sprintf("dropped %s %s: more than %d days ahead of the clock", name, t.Format(time.RFC3339), farAhead/(24*time.Hour)))
			*t = time.Time{}
		}
	}
	drop("failure.next", &s.Failure.Next)
	for k, q := range s.Inconclusive {
		drop("inconclusive.next", &q.Next)
		s.Inconclusive[k] = q
	}
	if now.Before(clockSet) {
		return alerts
	}
	if s.SuspendedUntil != nil {
		if drop("suspendedUntil", s.SuspendedUntil); s.SuspendedUntil.IsZero() {
			s.SuspendedUntil = nil
		}
	}
	drop("verdict.when", &s.Verdict.When)
	drop("deployed.when", &s.Deployed.When)
	if s.Attempt != nil {
		drop("attempt.started", &s.Attempt.Started)
	}
	if s.Hold != nil {
		drop("hold.since", &s.Hold.Since)
	}
	for k, q := range s.Quarantine {
		drop("quarantine.when", &q.When)
		s.Quarantine[k] = q
	}
	for k, q := range s.Inconclusive {
		drop("inconclusive.when", &q.When)
		s.Inconclusive[k] = q
	}
	return alerts
}

package agent

import (
	"time"

	"github.com/robfig/cron/v3"

	"pullnode/internal/state"
)

// interval gives the time to the next regular poll.
func (a *Agent) interval() time.Duration {
	s := a.Config.Schedule
	if len(s.Cron) == 0 {
		return s.Interval.D() + a.Random(s.Jitter.D()+1)
	}
	now, first := a.Now(), time.Time{}
	for _, spec := range s.Cron {
		sched, err := cron.ParseStandard(spec)
		if err != nil {
			continue // refused when the settings were loaded
		}
		if t := sched.Next(now); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return max(first.Sub(now), time.Second) + a.Random(s.Jitter.D()+1)
}

// pollFailed records a failed poll and gives the time until the next: doubled
// with every failure up to the interval, with full jitter, or what the server
// asked for. Trust and the pending commit are not touched.
func (a *Agent) pollFailed(class, text string, after time.Duration) time.Duration {
	count := 1
	err := a.Store.Update(func(s *state.State) error {
		s.Failure.Count++
		s.Failure.Class, s.Failure.Text = class, text
		count = s.Failure.Count
		return nil
	})
	if err != nil {
		a.Log.Error("state", "err", err)
	}
	a.Log.Warn("poll failed", "class", class, "err", text, "count", count)
	return a.backoff(count, after)
}

// backoff gives the time to the next poll after count failures in a row.
func (a *Agent) backoff(count int, after time.Duration) time.Duration {
	limit := max(a.Config.Schedule.Interval.D(), time.Second)
	d := min(15*time.Second<<min(count-1, 20), limit)
	wait := d/2 + a.Random(d/2+1)
	return max(wait, min(after, 24*time.Hour))
}

package health

import (
	"context"
	"time"
)

// Timing is how long and how often a try is asked.
type Timing struct {
	Settle   time.Duration // after the switch, before the first question
	Window   time.Duration // then this long to become well
	Interval time.Duration // between two rounds
	// Successes is how many good rounds in a row make it healthy.
	Successes int
	// Failures is how many bad rounds in a row make it unhealthy before the
	// window is over; 0 waits for its end.
	Failures int
}

// DefaultTiming is used where the settings say nothing.
var DefaultTiming = Timing{Settle: time.Minute, Window: 5 * time.Minute, Interval: 10 * time.Second, Successes: 3, Failures: 3}

// Max is the longest that Judge takes, without suspends: it goes into the
// guard's deadline.
func (t Timing) Max(checks []Named, l *Lifeline) time.Duration {
	longest := systemdTimeout
	for _, n := range checks {
		longest = max(longest, systemdTimeout+n.Timeout+grace)
	}
	window := t.Window
	if l != nil {
		window = max(window, l.Window+l.Timeout)
	}
	return t.Settle + window + t.Interval + 2*longest
}

// Judge asks whether the system that was just switched to is well.
type Judge struct {
	Timing   Timing
	Checks   []Named  // of the candidate
	Baseline Baseline // of the system before
	Ask      Ask      // RunAll when nil
	Systemd  Systemd  // nil leaves out the units
	// Counts says whether a newly failed unit counts: those that the switch
	// touched and those that are listed. nil counts all.
	Counts func(unit string) bool
	Ignore []string // patterns of units whose failure is not even reported
	// Watch are the units whose restarts by systemd count, AllowRestarts how
	// many are well; a crash loop that is up at each question is found so.
	Watch         []string
	AllowRestarts map[string]uint32
	Lifeline      *Lifeline // nil leaves it out
	// Slept gives how long the machine was suspended since boot; nil asks the
	// kernel.
	Slept func() time.Duration
}

// Run gives the verdict. When ctx ends first it is inconclusive. A suspend
// restarts everything: what fails right after a resume proves nothing.
func (j Judge) Run(ctx context.Context) Report {
	if j.Slept == nil {
		j.Slept = slept
	}
	start := time.Now()
	for resumed := 0; ; resumed++ {
		r, again := j.pass(ctx)
		if again && ctx.Err() == nil {
			continue
		}
		r.Resumed, r.Took = resumed, time.Since(start)
		return r
	}
}

// pass is one settle and window; again says that a suspend made it void.
func (j Judge) pass(ctx context.Context) (r Report, again bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := j.Slept()
	suspended := func() bool { return j.Slept()-before > time.Second }
	seen := j.Baseline.restarts()

	if err := sleep(ctx, j.Timing.Settle); err != nil {
		return interrupted(r), false
	}
	if suspended() {
		return interrupted(r), true
	}
	life := j.startLifeline(ctx)
	var (
		end       = time.Now().Add(j.Timing.Window)
		good, bad int
		everBad   string
	)
	for {
		var q quality
		r, q = j.round(ctx, &seen)
		if ctx.Err() != nil {
			return interrupted(r), false
		}
		if suspended() {
			return interrupted(r), true
		}
		switch q {
		case isGood:
			good, bad = good+1, 0
		case isStarting:
			good, bad, everBad = 0, 0, r.describe()
		case isBad:
			good, bad, everBad = 0, bad+1, r.describe()
		case isUnclear:
			good = 0
		}
		over := !time.Now().Before(end)
		switch {
		case q == isHopeless, q == isBad && j.Timing.Failures > 0 && bad >= j.Timing.Failures:
			r.Verdict, r.Text = Unhealthy, r.describe()
			return r, false
		case good >= j.Timing.Successes && good > 0:
			select {
			case err := <-life:
				return conclude(r, err), false
			default: // well, but the lifeline has longer to answer
			}
		case over:
			return timeUp(r, q, everBad), false
		}
		if err := sleep(ctx, j.Timing.Interval); err != nil {
			return interrupted(r), false
		}
		if suspended() {
			return interrupted(r), true
		}
	}
}

// startLifeline gives a channel with the lifeline's end.
func (j Judge) startLifeline(ctx context.Context) <-chan error {
	life := make(chan error, 1)
	if j.Lifeline == nil {
		life <- nil
		return life
	}
	go func() { life <- j.Lifeline.Run(ctx) }()
	return life
}

func conclude(r Report, lifeline error) Report {
	if lifeline == nil {
		r.Verdict, r.Text = Healthy, "all checks are well"
		return r
	}
	r.Verdict, r.Lifeline = Inconclusive, clean(lifeline.Error())
	r.Text = "no remote can be reached: " + r.Lifeline
	return r
}

// timeUp judges a window that ended without enough good rounds.
func timeUp(r Report, q quality, everBad string) Report {
	switch {
	case q == isBad || q == isStarting:
		r.Verdict, r.Text = Unhealthy, r.describe()
	case q == isGood && everBad != "":
		r.Verdict, r.Text = Inconclusive, "not well often enough in a row, at last: "+everBad
	default:
		r.Verdict, r.Text = Inconclusive, "nobody could say: "+r.describe()
	}
	return r
}

func interrupted(r Report) Report {
	r.Verdict, r.Text = Inconclusive, "interrupted"
	return r
}

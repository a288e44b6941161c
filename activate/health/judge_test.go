package health_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pullnode/activate/health"
)

// script answers a check round by round; its last answer stays.
type script struct {
	n       atomic.Int32
	answers []error
}

func (s *script) Run(context.Context) error {
	return s.answers[min(int(s.n.Add(1)), len(s.answers))-1]
}

var (
	errBad     = errors.New("bad")
	errNotYet  = errWrap(health.ErrNotYet)
	errUnknown = errWrap(health.ErrUnknown)
)

func errWrap(e error) error { return errors.Join(e, errors.New("detail")) }

func check(name string, required bool, answers ...error) health.Named {
	return health.Named{Spec: health.Spec{Name: name, Required: required, Timeout: time.Second, Fingerprint: name}, Check: &script{answers: answers}}
}

var timing = health.Timing{Settle: time.Minute, Window: 5 * time.Minute, Interval: 10 * time.Second, Successes: 3, Failures: 3}

func before(state health.State, fingerprint string) health.Baseline {
	return health.Baseline{Checks: map[string]health.CheckBefore{"c": {State: state, Fingerprint: fingerprint}}}
}

// awake is a machine that is never suspended.
func awake() time.Duration { return 0 }

func TestWindow(t *testing.T) {
	never := timing
	never.Failures = 0
	for name, c := range map[string]struct {
		judge health.Judge
		want  health.Verdict
		took  time.Duration
		text  string
	}{
		"no checks":       {health.Judge{}, health.Healthy, 80 * time.Second, "well"},
		"good":            {health.Judge{Checks: []health.Named{check("c", true, nil)}}, health.Healthy, 80 * time.Second, "well"},
		"bad":             {health.Judge{Checks: []health.Named{check("c", true, errBad)}}, health.Unhealthy, 80 * time.Second, "check c failed: bad"},
		"bad to the end":  {health.Judge{Timing: never, Checks: []health.Named{check("c", true, errBad)}}, health.Unhealthy, 6 * time.Minute, "bad"},
		"bad, then good":  {health.Judge{Checks: []health.Named{check("c", true, errBad, errBad, nil)}}, health.Healthy, 100 * time.Second, "well"},
		"good is broken":  {health.Judge{Checks: []health.Named{check("c", true, nil, nil, errBad, nil)}}, health.Healthy, 110 * time.Second, "well"},
		"starts slowly":   {health.Judge{Checks: []health.Named{check("c", true, errNotYet, errNotYet, errNotYet, errNotYet, nil)}}, health.Healthy, 120 * time.Second, "well"},
		"never ready":     {health.Judge{Checks: []health.Named{check("c", true, errNotYet)}}, health.Unhealthy, 6 * time.Minute, "not-yet"},
		"nobody knows":    {health.Judge{Checks: []health.Named{check("c", true, errUnknown)}}, health.Inconclusive, 6 * time.Minute, "nobody could say"},
		"unknown once":    {health.Judge{Checks: []health.Named{check("c", true, errUnknown, nil)}}, health.Healthy, 90 * time.Second, "well"},
		"unknown between": {health.Judge{Checks: []health.Named{check("c", true, nil, nil, errUnknown, nil)}}, health.Healthy, 110 * time.Second, "well"},
		"advisory":        {health.Judge{Checks: []health.Named{check("c", false, errBad)}}, health.Healthy, 80 * time.Second, "well"},
		"bad before too":  {health.Judge{Checks: []health.Named{check("c", true, errBad)}, Baseline: before(health.Failed, "c")}, health.Healthy, 80 * time.Second, "well"},
		"not yet before":  {health.Judge{Checks: []health.Named{check("c", true, errBad)}, Baseline: before(health.NotYet, "c")}, health.Healthy, 80 * time.Second, "well"},
		"bad and changed": {health.Judge{Checks: []health.Named{check("c", true, errBad)}, Baseline: before(health.Failed, "old")}, health.Unhealthy, 80 * time.Second, "bad"},
		"good before":     {health.Judge{Checks: []health.Named{check("c", true, errBad)}, Baseline: before(health.OK, "c")}, health.Unhealthy, 80 * time.Second, "bad"},
		"unknown before":  {health.Judge{Checks: []health.Named{check("c", true, errBad)}, Baseline: before(health.Unknown, "c")}, health.Inconclusive, 6 * time.Minute, "bad"},
		"no answer": {health.Judge{Checks: []health.Named{check("c", true, nil)}, Ask: func(context.Context, []health.Named) []health.Result {
			return []health.Result{{Name: "other", State: health.OK}}
		}}, health.Inconclusive, 6 * time.Minute, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := c.judge
				j.Slept = awake
				if j.Timing == (health.Timing{}) {
					j.Timing = timing
				}
				r := j.Run(t.Context())
				if r.Verdict != c.want || r.Took != c.took || !strings.Contains(r.Text, c.text) {
					t.Fatalf("got %s after %v: %q; want %s after %v: %q", r.Verdict, r.Took, r.Text, c.want, c.took, c.text)
				}
			})
		})
	}
}

func TestFlappingIsInconclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flap []error
		for range 100 {
			flap = append(flap, nil, errBad)
		}
		flap = append(flap[:30], nil)
		r := health.Judge{Timing: timing, Slept: awake, Checks: []health.Named{check("c", true, flap...)}}.Run(t.Context())
		if r.Verdict != health.Inconclusive || !strings.Contains(r.Text, "bad") {
			t.Fatalf("%+v", r)
		}
	})
}

func TestInterruptedIsInconclusive(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 65 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			r := health.Judge{Timing: timing, Slept: awake, Checks: []health.Named{check("c", true, errBad)}}.Run(ctx)
			if r.Verdict != health.Inconclusive || r.Took != after {
				t.Fatalf("%+v", r)
			}
		})
	}
}

// TestSuspendRestartsTheWindow: the network is away for a while after a resume;
// without the restart two bad rounds before and one after would convict.
func TestSuspendRestartsTheWindow(t *testing.T) {
	for name, at := range map[string]time.Duration{"in settle": 30 * time.Second, "in the window": 75 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				nap := func() time.Duration {
					if time.Since(start) >= at {
						return time.Hour
					}
					return 0
				}
				c := check("c", true, errBad, errBad, nil)
				if name == "in settle" {
					c = check("c", true, nil)
				}
				r := health.Judge{Timing: timing, Slept: nap, Checks: []health.Named{c}}.Run(t.Context())
				if r.Verdict != health.Healthy || r.Resumed != 1 {
					t.Fatalf("%+v", r)
				}
				// Noticed at the end of the wait in which it fell, then a whole
				// settle and three good rounds.
				if want := map[string]time.Duration{"in settle": 140 * time.Second, "in the window": 160 * time.Second}[name]; r.Took != want {
					t.Fatalf("took %v, want %v", r.Took, want)
				}
			})
		})
	}
}

// slow takes a while to say that it is bad.
type slow time.Duration

func (s slow) Run(context.Context) error { time.Sleep(time.Duration(s)); return errBad }

// TestSuspendInTheMiddleOfARound: the answer that a suspend delayed would be the
// one that convicts.
func TestSuspendInTheMiddleOfARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		nap := func() time.Duration {
			if time.Since(start) >= 62*time.Second {
				return time.Hour
			}
			return 0
		}
		hasty := timing
		hasty.Failures = 1
		c := health.Named{Spec: health.Spec{Name: "c", Required: true, Timeout: time.Minute}, Check: slow(5 * time.Second)}
		r := health.Judge{Timing: hasty, Slept: nap, Checks: []health.Named{c}}.Run(t.Context())
		if r.Resumed != 1 || r.Took != 130*time.Second {
			t.Fatalf("%+v", r)
		}
	})
}

// TestMaxHolds: however slow every answer is, the verdict is there in time.
func TestMaxHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := health.Named{Spec: health.Spec{Name: "c", Required: true, Timeout: 30 * time.Second}, Check: stubborn{t.Context().Done()}}
		life := &health.Lifeline{Probes: []health.Probe{func(context.Context) error { return errBad }},
			Window: 20 * time.Minute, Interval: time.Minute, Timeout: time.Minute}
		never := timing
		never.Failures = 0
		for _, list := range [][]health.Named{{stuck}, {check("c", true, nil)}} {
			j := health.Judge{Timing: never, Slept: awake, Checks: list, Lifeline: life}
			if r := j.Run(t.Context()); r.Took > never.Max(list, life) || r.Verdict == health.Healthy {
				t.Fatalf("%s took %v, more than %v", r.Verdict, r.Took, never.Max(list, life))
			}
		}
	})
}

// stubborn does not keep the promise of Check.
type stubborn struct{ until <-chan struct{} }

func (s stubborn) Run(context.Context) error { <-s.until; return nil }

package health_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pullnode/activate/health"
)

// fakeSystemd answers from a table; a unit that is not in it does not exist.
type fakeSystemd struct {
	units  map[string]health.UnitState
	failed []string
	err    error
}

func (f *fakeSystemd) Unit(ctx context.Context, name string) (health.UnitState, error) {
	if name == "hang.service" {
		<-ctx.Done()
		return health.UnitState{}, ctx.Err()
	}
	if name == "gone.service" {
		return health.UnitState{}, errors.New("message recipient disconnected")
	}
	if u, ok := f.units[name]; ok || f.err != nil {
		return u, f.err
	}
	return health.UnitState{Load: "not-found", Active: "inactive", Sub: "dead"}, nil
}

func (f *fakeSystemd) Failed(context.Context) ([]string, error) { return f.failed, f.err }

func loaded(active, sub, result string) health.UnitState {
	return health.UnitState{Load: "loaded", Active: active, Sub: sub, Result: result}
}

// changing is a systemd whose answers depend on the time since it was made.
type changing struct {
	start time.Time
	at    func(after time.Duration) *fakeSystemd
}

func (c changing) Unit(ctx context.Context, name string) (health.UnitState, error) {
	return c.at(time.Since(c.start)).Unit(ctx, name)
}

func (c changing) Failed(ctx context.Context) ([]string, error) {
	return c.at(time.Since(c.start)).Failed(ctx)
}

func restarted(n uint32) map[string]health.UnitState {
	u := loaded("active", "running", "success")
	u.NRestarts = n
	return map[string]health.UnitState{"a.service": u}
}

func TestUnitsOfATry(t *testing.T) {
	always := func(f *fakeSystemd) func(time.Duration) *fakeSystemd {
		return func(time.Duration) *fakeSystemd { return f }
	}
	crash := func(d time.Duration) *fakeSystemd { // up at every question, restarted once a minute
		return &fakeSystemd{units: restarted(uint32(d / time.Minute))}
	}
	for name, c := range map[string]struct {
		systemd func(time.Duration) *fakeSystemd
		change  func(j *health.Judge)
		want    health.Verdict
		text    string
	}{
		"failed before": {always(&fakeSystemd{failed: []string{"old.service"}, units: restarted(5)}), nil, health.Healthy, ""},
		"newly failed":  {always(&fakeSystemd{failed: []string{"old.service", "b.service"}, units: restarted(5)}), nil, health.Unhealthy, "failed units: b.service"},
		"ignored": {always(&fakeSystemd{failed: []string{"b@1.service"}, units: restarted(5)}),
			func(j *health.Judge) { j.Ignore = []string{"b@*.service"} }, health.Healthy, ""},
		"not touched": {always(&fakeSystemd{failed: []string{"b.service"}, units: restarted(5)}),
			func(j *health.Judge) { j.Counts = func(u string) bool { return u == "a.service" } }, health.Healthy, ""},
		"failed for a moment": {func(d time.Duration) *fakeSystemd {
			if d < 75*time.Second {
				return &fakeSystemd{failed: []string{"b.service"}, units: restarted(5)}
			}
			return &fakeSystemd{units: restarted(5)}
		}, nil, health.Healthy, ""},
		"restarted":  {always(&fakeSystemd{units: restarted(6)}), nil, health.Unhealthy, "a.service was restarted 1 times"},
		"allowed":    {always(&fakeSystemd{units: restarted(6)}), func(j *health.Judge) { j.AllowRestarts = map[string]uint32{"a.service": 1} }, health.Healthy, ""},
		"by switch":  {always(&fakeSystemd{units: restarted(0)}), nil, health.Healthy, ""},
		"crash loop": {crash, nil, health.Unhealthy, "a.service was restarted"},
		"dbus away for a while": {func(d time.Duration) *fakeSystemd {
			if d < 85*time.Second {
				return &fakeSystemd{err: errors.New("disconnected")}
			}
			return &fakeSystemd{units: restarted(5)}
		}, nil, health.Healthy, ""},
		"dbus away": {always(&fakeSystemd{err: errors.New("disconnected")}), nil, health.Inconclusive, "disconnected"},
		"dbus hangs": {always(&fakeSystemd{units: restarted(5)}),
			func(j *health.Judge) { j.Watch = []string{"hang.service"} }, health.Inconclusive, "hang.service"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := health.Judge{Timing: timing, Slept: awake, Systemd: changing{time.Now(), c.systemd}, Watch: []string{"a.service"},
					Baseline: health.Baseline{Failed: []string{"old.service"}, Restarts: map[string]uint32{"a.service": 5}}}
				if c.change != nil {
					c.change(&j)
				}
				r := j.Run(t.Context())
				if r.Verdict != c.want || !strings.Contains(r.Text, c.text) {
					t.Fatalf("%+v", r)
				}
				if name == "not touched" && !reflect.DeepEqual(r.OtherFailed, []string{"b.service"}) {
					t.Fatalf("not reported: %+v", r)
				}
			})
		})
	}
}

func TestBaseline(t *testing.T) {
	s := &fakeSystemd{failed: []string{"z.service", "b.service"}, units: restarted(3)}
	checks := []health.Named{check("good", true, nil), check("bad", true, errBad), check("odd", true, errUnknown)}
	b, err := health.TakeBaseline(t.Context(), s, []string{"a.service"}, checks, nil)
	if err != nil || !reflect.DeepEqual(b.Failed, []string{"b.service", "z.service"}) || !maps.Equal(b.Restarts, map[string]uint32{"a.service": 3}) {
		t.Fatalf("%+v, %v", b, err)
	}
	for name, want := range map[string]health.State{"good": health.OK, "bad": health.Failed, "odd": health.Unknown} {
		if c := b.Checks[name]; c.State != want || c.Fingerprint != name {
			t.Errorf("%s: %+v", name, c)
		}
	}
	s.err = errors.New("disconnected")
	if _, err := health.TakeBaseline(t.Context(), s, nil, nil, nil); !errors.Is(err, health.ErrUnknown) {
		t.Fatalf("a baseline without systemd's answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := health.TakeBaseline(ctx, nil, nil, checks, nil); !errors.Is(err, health.ErrUnknown) {
		t.Fatalf("an interrupted baseline: %v", err)
	}
}

func TestRecheck(t *testing.T) {
	bad := health.Report{Verdict: health.Unhealthy, Checks: []health.Result{
		{Name: "a", State: health.Failed, Counts: true}, {Name: "b", State: health.NotYet, Counts: true},
		{Name: "c", State: health.Failed}, {Name: "d", State: health.OK, Counts: true}}, FailedUnits: []string{"u"}}
	if got := bad.Suspects(); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Fatalf("suspects %q", got)
	}
	answers := func(a, b health.State) []health.Result {
		return []health.Result{{Name: "a", State: a}, {Name: "b", State: b}}
	}
	restarts := bad
	restarts.Restarts = map[string]uint32{"x": 1}
	healthy := bad
	healthy.Verdict = health.Healthy
	for name, c := range map[string]struct {
		report health.Report
		after  []health.Result
		failed []string
		want   health.Verdict
	}{
		"recovered":       {bad, answers(health.OK, health.OK), nil, health.Unhealthy},
		"one recovered":   {bad, answers(health.OK, health.Failed), []string{"u"}, health.Unhealthy},
		"unit recovered":  {bad, answers(health.Failed, health.Failed), nil, health.Unhealthy},
		"still bad":       {bad, answers(health.Failed, health.Unknown), []string{"u"}, health.Inconclusive},
		"nobody answered": {bad, answers(health.Unknown, health.Unknown), []string{"u"}, health.Inconclusive},
		"new checks":      {bad, nil, []string{"u"}, health.Unhealthy}, // the old system does not have them
		"crash loop":      {restarts, answers(health.Failed, health.Failed), []string{"u"}, health.Unhealthy},
		"healthy":         {healthy, answers(health.Failed, health.Failed), []string{"u"}, health.Healthy},
	} {
		if got := c.report.Recheck(c.after, c.failed); got.Verdict != c.want {
			t.Errorf("%s: %s, want %s", name, got.Verdict, c.want)
		}
	}
}

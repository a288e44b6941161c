package agent

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"

	"pullnode/activate/health"
)

func run(invocation, file string, restarts uint32) health.Started {
	return health.Started{Invocation: invocation, File: file, NRestarts: restarts}
}

func TestTouched(t *testing.T) {
	before := map[string]health.Started{
		"same.service": run("1", "f", 0), "restarted.service": run("1", "f", 3), "changed.service": run("1", "f", 0),
		"flaky.service": run("1", "f", 3), "stopped.service": run("1", "f", 0), "pullnode.service": run("1", "f", 0),
	}
	now := map[string]health.Started{
		"same.service": run("1", "f", 0), "restarted.service": run("2", "f", 0), "changed.service": run("1", "g", 0),
		"flaky.service": run("2", "f", 4), "new.service": run("1", "f", 0), "pullnode.service": run("2", "g", 1), "new.mount": run("1", "f", 0),
	}
	got := slices.Sorted(maps.Keys(touched(before, now)))
	if want := []string{"changed.service", "new.mount", "new.service", "restarted.service"}; !slices.Equal(got, want) {
		t.Errorf("touched %q, want %q", got, want)
	}
}

type starts struct {
	units map[string]health.Started
	err   error
}

func (s starts) Started(context.Context) (map[string]health.Started, error) { return s.units, s.err }

type unitStates map[string]health.UnitState

func (u unitStates) Unit(_ context.Context, name string) (health.UnitState, error) {
	return u[name], nil
}
func (u unitStates) Failed(context.Context) (failed []string, _ error) {
	for name, s := range u {
		if s.Active == "failed" {
			failed = append(failed, name)
		}
	}
	return failed, nil
}

// What a switch touched counts, and only that.
func TestJudgeCountsWhatWasTouched(t *testing.T) {
	before := starts{units: map[string]health.Started{"a.service": run("1", "f", 2), "b.service": run("1", "f", 0)}}
	for name, c := range map[string]struct {
		now    map[string]health.Started
		states unitStates
		allow  map[string]uint32
		want   bool
	}{
		"nothing":            {before.units, nil, nil, true},
		"touched and failed": {map[string]health.Started{"b.service": run("2", "f", 0)}, unitStates{"b.service": {Active: "failed"}}, nil, false},
		"failed by itself":   {before.units, unitStates{"b.service": {Active: "failed"}}, nil, true},
		"crash loop":         {map[string]health.Started{"a.service": run("2", "f", 0)}, unitStates{"a.service": {Active: "active", NRestarts: 1}}, nil, false},
		"allowed":            {map[string]health.Started{"a.service": run("2", "f", 0)}, unitStates{"a.service": {Active: "active", NRestarts: 1}}, map[string]uint32{"a.service": 1}, true},
		"was flaky before":   {map[string]health.Started{"a.service": run("2", "f", 3)}, unitStates{"a.service": {Active: "active", NRestarts: 4}}, nil, true},
	} {
		h := &Health{Timing: health.Timing{Window: 1, Interval: 1, Successes: 1, Failures: 1}, Starts: before, Systemd: unitStates{}}
		base, err := h.Baseline(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.Starts, h.Systemd, h.AllowRestarts = starts{units: c.now}, c.states, c.allow
		if j := h.Judge(t.Context(), base); j.Healthy != c.want || j.Inconclusive {
			t.Errorf("%s: %+v", name, j)
		}
		h.Starts = starts{err: errors.New("no answer")}
		if j := h.Judge(t.Context(), base); !j.Inconclusive {
			t.Errorf("%s, without an answer: %+v", name, j)
		}
		if _, err := h.Baseline(t.Context()); err == nil {
			t.Errorf("%s: a baseline without an answer", name)
		}
	}
}

type answer struct{ err error }

func (a answer) Run(context.Context) error { return a.err }

// After going back another process asks again, with nothing but the journal.
func TestRecheck(t *testing.T) {
	bad := errors.New("ill")
	web := func(fingerprint string, err error) []health.Named {
		return []health.Named{{Spec: health.Spec{Name: "web", Required: true, Timeout: 1 << 30, Fingerprint: fingerprint}, Check: answer{err}}}
	}
	line := func(err error) *health.Lifeline {
		return &health.Lifeline{Window: 1, Interval: 1, Timeout: 1 << 30, Probes: []health.Probe{func(context.Context) error { return err }}}
	}
	timing := health.Timing{Window: 1 << 30, Interval: 1, Successes: 1, Failures: 1}
	for name, c := range map[string]struct {
		old, new, after []health.Named
		line, lineAfter error
		inconclusive    bool
		oldIsWell       bool
	}{
		"recovers":           {old: web("1", nil), new: web("1", bad), after: web("1", nil), oldIsWell: true},
		"ill on both":        {old: web("1", nil), new: web("1", bad), after: web("1", bad)},
		"new check":          {new: web("1", bad), oldIsWell: true},
		"changed check":      {old: web("1", nil), new: web("2", bad), after: web("1", bad), oldIsWell: true},
		"no network":         {line: bad, inconclusive: true, oldIsWell: true},
		"no network on both": {line: bad, lineAfter: bad, inconclusive: true},
	} {
		base, err := (&Health{Timing: timing, Checks: c.old}).Baseline(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		j := (&Health{Timing: timing, Checks: c.new, Lifeline: line(c.line)}).Judge(t.Context(), base)
		if j.Healthy || j.Inconclusive != c.inconclusive || j.Report == nil {
			t.Fatalf("%s: %+v", name, j)
		}
		again := (&Health{Timing: timing, Checks: c.after, Lifeline: line(c.lineAfter)}).Recheck(t.Context(), base, j.Report)
		if again.Healthy != c.oldIsWell {
			t.Errorf("%s: %+v", name, again)
		}
	}
	h := &Health{Timing: timing}
	if j := h.Recheck(t.Context(), json.RawMessage(`{`), json.RawMessage(`{}`)); j.Healthy {
		t.Error("a damaged journal convicts")
	}
}

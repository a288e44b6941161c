package health_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pullnode/activate/health"
)

func answersAfter(d time.Duration) health.Probe {
	start := time.Now()
	return func(context.Context) error {
		if time.Since(start) < d {
			return errBad
		}
		return nil
	}
}

func hangs(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func lifeline(probes ...health.Probe) *health.Lifeline {
	return &health.Lifeline{Probes: probes, Window: 10 * time.Minute, Interval: 15 * time.Second, Timeout: 20 * time.Second}
}

func TestLifeline(t *testing.T) {
	dead := func(context.Context) error { return errors.New("no route to host") }
	for name, c := range map[string]struct {
		probes func() []health.Probe
		check  error
		want   health.Verdict
		max    time.Duration
	}{
		"one of three":    {func() []health.Probe { return []health.Probe{dead, answersAfter(0), hangs} }, nil, health.Healthy, 80 * time.Second},
		"later":           {func() []health.Probe { return []health.Probe{dead, answersAfter(8 * time.Minute)} }, nil, health.Healthy, 9 * time.Minute},
		"dead":            {func() []health.Probe { return []health.Probe{dead} }, nil, health.Inconclusive, 12 * time.Minute},
		"hangs":           {func() []health.Probe { return []health.Probe{hangs} }, nil, health.Inconclusive, 12 * time.Minute},
		"none":            {func() []health.Probe { return nil }, nil, health.Inconclusive, 80 * time.Second},
		"dead and bad":    {func() []health.Probe { return []health.Probe{dead} }, errBad, health.Unhealthy, 80 * time.Second},
		"answers and bad": {func() []health.Probe { return []health.Probe{answersAfter(0)} }, errBad, health.Unhealthy, 80 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := health.Judge{Timing: timing, Slept: awake, Lifeline: lifeline(c.probes()...), Checks: []health.Named{check("c", true, c.check)}}
				r := j.Run(t.Context())
				if r.Verdict != c.want || r.Took > c.max {
					t.Fatalf("%+v", r)
				}
				if c.want == health.Inconclusive && r.Lifeline == "" {
					t.Fatal("the report does not say why")
				}
			})
		})
	}
}

// TestChecksGoOnWhileTheLifelineWaits: a service that breaks while only the
// lifeline is waited for still convicts.
func TestChecksGoOnWhileTheLifelineWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := health.Judge{Timing: timing, Slept: awake, Lifeline: lifeline(answersAfter(5 * time.Minute)),
			Checks: []health.Named{check("c", true, nil, nil, nil, nil, nil, errBad)}}
		if r := j.Run(t.Context()); r.Verdict != health.Unhealthy {
			t.Fatalf("%+v", r)
		}
	})
}

// TestApart asks network checks as the separate process does: only their
// settings go there and only JSON comes back.
func TestApart(t *testing.T) {
	ssh := tcpKind(t).Good
	settings := map[string]json.RawMessage{
		"net":   json.RawMessage(strings.Replace(ssh, "{", `{"type":"tcp",`, 1)),
		"local": json.RawMessage(`{"type":"unit","unit":"good"}`),
	}
	checks, err := health.Open(settings, unitKind(t).Seams)
	if err != nil {
		t.Fatal(err)
	}
	var sent map[string]json.RawMessage
	network := func(ctx context.Context, there []health.Named) []health.Result {
		sent = health.Settings(there)
		var out bytes.Buffer
		if err := health.Serve(ctx, sent, &out); err != nil {
			t.Error(err)
		}
		results, err := health.DecodeAnswers(out.Bytes())
		if err != nil {
			t.Error(err)
		}
		return results
	}
	b, err := health.TakeBaseline(t.Context(), nil, nil, checks, health.Split(nil, network))
	if err != nil || len(b.Checks) != 2 || b.Checks["net"].State != health.OK || b.Checks["local"].State != health.OK {
		t.Fatalf("%+v, %v", b, err)
	}
	if len(sent) != 1 || sent["net"] == nil {
		t.Fatalf("sent %v", sent)
	}
	if err := health.Serve(t.Context(), settings, &bytes.Buffer{}); err == nil {
		t.Fatal("the process for the network asks systemd")
	}
}

func TestAnswersAreReadStrictly(t *testing.T) {
	for _, raw := range []string{``, `{"results":[{"name":"x","state":"fine"}]}`, `{"results":[{"name":"../x","state":"ok"}]}`,
		`{"results":[],"verdict":"healthy"}`, `{"results":[]} {}`, `{"results":[{"name":"x","state":"ok","text":"` + strings.Repeat("x", 70<<10) + `"}]}`} {
		if got, err := health.DecodeAnswers([]byte(raw)); err == nil {
			t.Errorf("%.60s is taken as %+v", raw, got)
		}
	}
	got, err := health.DecodeAnswers([]byte(`{"results":[{"name":"x","state":"failed","text":"a\u001b[31m\nb","counts":true}]}`))
	if err != nil || got[0].Text != "a [31m b" || got[0].Counts {
		t.Fatalf("%+v, %v", got, err)
	}
}

package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"pullnode/activate"
	"pullnode/activate/health"
)

// Health answers activate's questions with package health.
type Health struct {
	Timing   health.Timing
	Checks   []health.Named
	Systemd  health.Systemd // nil where there is none
	Ask      health.Ask     // RunAll when nil
	Watch    []string
	Lifeline *health.Lifeline

	last health.Report // of the try that is judged; one try at a time
}

// Baseline asks the running system before the switch.
func (h *Health) Baseline(ctx context.Context) (json.RawMessage, error) {
	b, err := health.TakeBaseline(ctx, h.Systemd, h.Watch, h.Checks, h.Ask)
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

// Judge watches the new system.
func (h *Health) Judge(ctx context.Context, baseline json.RawMessage) activate.Judgement {
	var b health.Baseline
	if err := json.Unmarshal(baseline, &b); err != nil {
		return activate.Judgement{Inconclusive: true, Why: fmt.Sprintf("the baseline in the journal is damaged: %v", err)}
	}
	h.last = health.Judge{Timing: h.Timing, Checks: h.Checks, Baseline: b, Systemd: h.Systemd, Ask: h.Ask, Watch: h.Watch, Lifeline: h.Lifeline}.Run(ctx)
	return judgement(h.last)
}

// Recheck asks what failed once more, on the old system. After a restart in
// between nobody knows what failed, and the try stays as it was judged.
func (h *Health) Recheck(ctx context.Context, _ json.RawMessage) activate.Judgement {
	if h.last.Verdict != health.Unhealthy {
		return activate.Judgement{Healthy: true}
	}
	var failed []string
	if h.Systemd != nil {
		var err error
		if failed, err = h.Systemd.Failed(ctx); err != nil {
			return activate.Judgement{Inconclusive: true, Why: err.Error()}
		}
	}
	var again []health.Named
	for _, name := range h.last.Suspects() {
		for _, c := range h.Checks {
			if c.Name == name {
				again = append(again, c)
			}
		}
	}
	ask := h.Ask
	if ask == nil {
		ask = health.RunAll
	}
	r := h.last.Recheck(ask(ctx, again), failed)
	if r.Verdict == health.Inconclusive {
		return judgement(r)
	}
	return activate.Judgement{Healthy: true}
}

func judgement(r health.Report) activate.Judgement {
	return activate.Judgement{Healthy: r.Verdict == health.Healthy, Inconclusive: r.Verdict == health.Inconclusive, Why: r.Text}
}

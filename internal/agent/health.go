package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"pullnode/activate"
	"pullnode/activate/health"
)

// Health answers activate's questions with package health. It keeps nothing
// between two questions: the switch restarts the process that asks.
type Health struct {
	Timing  health.Timing
	Checks  []health.Named
	Systemd health.Systemd // nil where there is none
	Starts  Starts         // nil where there is none: then all units count
	Ask     health.Ask     // RunAll when nil
	// AllowRestarts is how often systemd may restart a unit during a try.
	AllowRestarts map[string]uint32
	Lifeline      *health.Lifeline

	// pushed says that the next try is of a system that root brought: then a lifeline
	// that is cut already proves nothing.
	pushed bool
}

// Baseline asks the running system before the switch.
func (h *Health) Baseline(ctx context.Context) (json.RawMessage, error) {
	var b baseline
	var err error
	if h.Starts != nil {
		if b.Started, err = h.Starts.Started(ctx); err != nil {
			return nil, fmt.Errorf("which units run: %w", err)
		}
	}
	if b.Baseline, err = health.TakeBaseline(ctx, h.Systemd, nil, h.Checks, h.Ask); err != nil {
		return nil, err
	}
	if h.pushed && h.Lifeline != nil {
		once := *h.Lifeline
		once.Window = 0
		b.Cut = once.Run(ctx) != nil
	}
	return b.encode()
}

// Judge watches the new system.
func (h *Health) Judge(ctx context.Context, raw json.RawMessage) activate.Judgement {
	var b baseline
	if err := json.Unmarshal(raw, &b); err != nil {
		return activate.Judgement{Inconclusive: true, Why: fmt.Sprintf("the baseline in the journal is damaged: %v", err)}
	}
	j := health.Judge{Timing: h.Timing, Checks: h.Checks, Baseline: b.Baseline, Systemd: h.Systemd, Ask: h.Ask, Lifeline: h.Lifeline}
	if b.Cut {
		j.Lifeline = nil
	}
	if err := h.watch(ctx, &b, &j); err != nil {
		return activate.Judgement{Inconclusive: true, Why: err.Error()}
	}
	r := j.Run(ctx)
	out := activate.Judgement{Healthy: r.Verdict == health.Healthy, Inconclusive: r.Verdict == health.Inconclusive, Why: r.Text}
	if !out.Healthy && (!out.Inconclusive || r.Lifeline != "") {
		raw, err := json.Marshal(report{r, h.brought(r.Suspects(), b)})
		if err != nil {
			return activate.Judgement{Inconclusive: true, Why: err.Error()}
		}
		out.Report = raw
	}
	return out
}

// Recheck asks what was ill once more, on the old system. A check that the new
// system brought or changed is not asked: that it is not well here is no news.
func (h *Health) Recheck(ctx context.Context, rawBase, rawReport json.RawMessage) activate.Judgement {
	var b baseline
	var r report
	for _, d := range []struct {
		raw json.RawMessage
		to  any
	}{{rawBase, &b}, {rawReport, &r}} {
		if err := json.Unmarshal(d.raw, d.to); err != nil {
			return activate.Judgement{Why: fmt.Sprintf("the journal is damaged: %v", err)}
		}
	}
	if r.Verdict == health.Inconclusive {
		return h.recheckLifeline(ctx)
	}
	var failed []string
	if h.Systemd != nil {
		var err error
		if failed, err = h.Systemd.Failed(ctx); err != nil {
			return activate.Judgement{Why: err.Error()}
		}
	}
	if len(r.Brought) > 0 {
		return activate.Judgement{Healthy: true}
	}
	var again []health.Named
	for _, c := range h.Checks {
		if slices.Contains(r.Suspects(), c.Name) {
			again = append(again, c)
		}
	}
	ask := h.Ask
	if ask == nil {
		ask = health.RunAll
	}
	still := r.Recheck(ask(ctx, again), failed)
	return activate.Judgement{Healthy: still.Verdict == health.Unhealthy, Why: still.Text}
}

// report is health's, with the suspects that the new system brought or changed.
type report struct {
	health.Report
	Brought []string `json:"brought,omitempty"`
}

// brought gives the names of checks that the old system did not have like that.
func (h *Health) brought(names []string, b baseline) (list []string) {
	for _, c := range h.Checks {
		before, known := b.Checks[c.Name]
		if slices.Contains(names, c.Name) && (!known || before.Fingerprint != c.Fingerprint) {
			list = append(list, c.Name)
		}
	}
	return list
}

// recheckLifeline says whether the old system reaches a remote.
func (h *Health) recheckLifeline(ctx context.Context) activate.Judgement {
	if h.Lifeline == nil {
		return activate.Judgement{}
	}
	if err := h.Lifeline.Run(ctx); err != nil {
		return activate.Judgement{Why: err.Error()}
	}
	return activate.Judgement{Healthy: true}
}

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"pullnode/activate/health"
)

// Starts tells which runs of which units there are. An error means unknown.
type Starts interface {
	Started(ctx context.Context) (map[string]health.Started, error)
}

// baseline is health's, with the runs that there were before the switch.
type baseline struct {
	health.Baseline
	Started map[string]health.Started `json:"started,omitempty"`
	Cut     bool                      `json:"cut,omitempty"` // no remote could be reached before a push
}

// agentUnit is judged by being the one that judges.
const agentUnit = "pullnode.service"

// touched gives the units that the switch started, restarted or changed. One
// that systemd restarted by itself is not among them: it was as unwell before.
func touched(before, now map[string]health.Started) map[string]bool {
	out := map[string]bool{}
	for name, n := range now {
		b, known := before[name]
		own := n.NRestarts > b.NRestarts && n.File == b.File
		if name != agentUnit && (!known || n.File != b.File || n.Invocation != b.Invocation && !own) {
			out[name] = true
		}
	}
	return out
}

// watch fills in which units count, and from which count of restarts on.
func (h *Health) watch(ctx context.Context, b *baseline, j *health.Judge) error {
	if h.Starts == nil {
		return nil
	}
	now, err := h.Starts.Started(ctx)
	if err != nil {
		return fmt.Errorf("which units the switch has started: %w", err)
	}
	counts := touched(b.Started, now)
	j.Counts = func(unit string) bool { return counts[unit] }
	j.AllowRestarts = map[string]uint32{}
	if b.Restarts == nil {
		b.Restarts = map[string]uint32{}
	}
	for name := range counts {
		if filepath.Ext(name) != ".service" {
			continue
		}
		j.Watch = append(j.Watch, name)
		b.Restarts[name] = b.Started[name].NRestarts
		if strings.HasPrefix(name, "pullnode-") {
			// One death of a helper is no loop: whoever asks it asks again.
			j.AllowRestarts[name] = 1
		}
	}
	for name, n := range h.AllowRestarts {
		j.AllowRestarts[name] = n
	}
	j.Baseline = b.Baseline
	return nil
}

func (b baseline) encode() (json.RawMessage, error) { return json.Marshal(b) }

package health

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
)

// Baseline is how the machine was before the switch, so that a try is only
// judged by what it made worse. It is kept in the journal as JSON.
type Baseline struct {
	Failed   []string               `json:"failed,omitempty"`   // units
	Restarts map[string]uint32      `json:"restarts,omitempty"` // NRestarts by unit
	Checks   map[string]CheckBefore `json:"checks,omitempty"`   // by name
}

// CheckBefore is a check's answer before the switch.
type CheckBefore struct {
	State       State  `json:"state"`
	Text        string `json:"text,omitempty"`
	Fingerprint string `json:"fingerprint"` // of its settings then
}

// Ask runs checks and gives their answers in the same order. RunAll is one; a
// process that may not open connections has those with Spec.Network run
// elsewhere.
type Ask func(ctx context.Context, checks []Named) []Result

// each gives one answer for each check, in their order, whatever came back.
func (a Ask) each(ctx context.Context, checks []Named) []Result {
	if a == nil {
		a = RunAll
	}
	got := a(ctx, checks)
	out := make([]Result, len(checks))
	for i, n := range checks {
		out[i] = Result{Name: n.Name, State: Unknown, Text: "no answer"}
		for _, r := range got {
			if r.Name == n.Name {
				out[i] = r
			}
		}
	}
	return out
}

// TakeBaseline asks the running system with its own settings: checks are those
// of the system that runs, watch the units whose restarts will count. A nil
// systemd leaves out the units, a nil ask is RunAll. The error wraps ErrUnknown:
// without a baseline nothing may be tried, since nothing could be judged.
func TakeBaseline(ctx context.Context, systemd Systemd, watch []string, checks []Named, ask Ask) (Baseline, error) {
	b := Baseline{Restarts: map[string]uint32{}, Checks: map[string]CheckBefore{}}
	if systemd != nil {
		failed, err := systemd.Failed(ctx)
		if err != nil {
			return b, fmt.Errorf("%w: ask systemd for failed units: %w", ErrUnknown, err)
		}
		b.Failed = slices.Sorted(slices.Values(failed))
		for _, name := range watch {
			u, err := systemd.Unit(ctx, name)
			if err != nil {
				return b, fmt.Errorf("%w: ask systemd for %s: %w", ErrUnknown, name, err)
			}
			b.Restarts[name] = u.NRestarts
		}
	}
	for i, r := range ask.each(ctx, checks) {
		b.Checks[r.Name] = CheckBefore{State: r.State, Text: r.Text, Fingerprint: checks[i].Fingerprint}
	}
	if err := ctx.Err(); err != nil {
		return b, fmt.Errorf("%w: the baseline was interrupted: %w", ErrUnknown, err)
	}
	return b, nil
}

// weight is what an answer of a check means for the verdict.
type weight int

const (
	advisory weight = iota
	// doubtful: required, but nobody knows how it was before. It cannot
	// convict, and it must be well.
	doubtful
	required
)

// weigh: a required check counts if the candidate brought or changed it, or if
// it was well before. One that was bad before and is unchanged cannot count:
// else no fix could ever be deployed.
func (b Baseline) weigh(n Named) weight {
	before, known := b.Checks[n.Name]
	switch {
	case !n.Required:
		return advisory
	case !known, before.Fingerprint != n.Fingerprint, before.State == OK:
		return required
	case before.State == Unknown:
		return doubtful
	}
	return advisory
}

// newlyFailed gives the failed units that had not failed before and that no
// pattern of ignore matches.
func (b Baseline) newlyFailed(failed, ignore []string) (units []string) {
	for _, u := range failed {
		ignored := slices.ContainsFunc(ignore, func(pattern string) bool {
			ok, err := path.Match(pattern, u)
			return ok && err == nil
		})
		if !ignored && !slices.Contains(b.Failed, u) && !slices.Contains(units, u) {
			units = append(units, u)
		}
	}
	slices.Sort(units)
	return units
}

// restarts counts how often units were restarted by systemd since the baseline.
type restarts struct {
	from map[string]uint32
}

func (b Baseline) restarts() restarts { return restarts{maps.Clone(b.Restarts)} }

// since gives the restarts of a unit that now counts n. A lower count than
// before means that the switch itself restarted the unit, which begins at zero.
func (r *restarts) since(unit string, n uint32) uint32 {
	if r.from == nil {
		r.from = map[string]uint32{}
	}
	if n < r.from[unit] {
		r.from[unit] = 0
	}
	return n - r.from[unit]
}

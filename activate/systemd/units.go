package systemd

import (
	"context"
	"errors"
	"slices"
	"time"

	"pullnode/activate/health"
)

// Units is health.Systemd over systemd's private socket.
type Units struct {
	bus             bus
	patience, pause time.Duration
}

var _ health.Systemd = (*Units)(nil)

// UnitsSettings is what NewUnits needs.
type UnitsSettings struct {
	// Patience is as in Settings, but short by default, 5 s: a check has a
	// timeout of its own and is asked again.
	Patience time.Duration
}

// NewUnits does not talk to systemd yet.
func NewUnits(s UnitsSettings) *Units {
	if s.Patience == 0 {
		s.Patience = 5 * time.Second
	}
	return &Units{bus: &private{}, patience: s.Patience, pause: 100 * time.Millisecond}
}

// Unit says how the unit is. One that does not exist has Load "not-found" and
// is no error; NRestarts is zero for a unit that is no service.
func (u *Units) Unit(ctx context.Context, name string) (health.UnitState, error) {
	if name == "" {
		return health.UnitState{}, errors.New("look at a unit without a name")
	}
	var st state
	err := patiently(ctx, u.patience, u.pause, func() (ok bool, err error) {
		st, err = u.bus.state(ctx, name)
		return err == nil, err
	})
	if err != nil {
		return health.UnitState{}, err
	}
	return health.UnitState{
		Load: st.load, Active: st.active, Sub: st.sub,
		NRestarts: st.restarts, Result: st.result,
	}, nil
}

// Failed gives the units in state "failed", sorted. A service between two
// attempts of a crash loop is not among them: its NRestarts tells.
func (u *Units) Failed(ctx context.Context) ([]string, error) {
	var names []string
	err := patiently(ctx, u.patience, u.pause, func() (bool, error) {
		units, err := u.bus.list(ctx, []string{"failed"})
		if err != nil {
			return false, err
		}
		names = nil
		for _, unit := range units {
			names = append(names, unit.Name)
		}
		return true, nil
	})
	slices.Sort(names)
	return names, err
}

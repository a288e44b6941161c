package systemd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"pullnode/activate"
)

// Arm starts the timer of the guard. A guard that is armed, or that is at work,
// stays as it is: its deadline does not move.
func (s *System) Arm(ctx context.Context, g activate.Guard) error {
	if err := validID(g.ID); err != nil {
		return err
	}
	if g.After <= 0 || g.Old == "" {
		return fmt.Errorf("guard %s: no time or no system to go back to", g.ID)
	}
	now, err := clock(unix.CLOCK_MONOTONIC)
	if err != nil {
		return err
	}
	deadline := now + g.After
	return s.patiently(ctx, func() (bool, error) {
		for _, unit := range []string{guardTimer(g.ID), guardService(g.ID)} {
			if st, err := s.bus.state(ctx, unit); err != nil || st.runs() {
				return err == nil, err
			}
		}
		base, err := s.bus.userspace(ctx)
		if err != nil {
			return false, err
		}
		timer, service := s.guardProps(g.ID, string(g.Old), deadline-base)
		err = s.bus.start(ctx, guardTimer(g.ID), timer,
			dbus.PropertyCollection{Name: guardService(g.ID), Properties: service})
		if errors.Is(err, errExists) {
			err = nil
		}
		return false, err // look again: only a timer that is seen counts
	})
}

// Disarm stops the timer, then waits for a guard that is already at work: it
// has decided, and its revert must come to its end.
func (s *System) Disarm(ctx context.Context, id string) error {
	if err := validID(id); err != nil {
		return err
	}
	if err := s.stop(ctx, guardTimer(id)); err != nil {
		return err
	}
	return s.rest(ctx, guardService(id))
}

// DecideVerb is the verb "pullnode decide <id> <decision>", the guard's
// ExecCondition=. It gives the exit status: 0 when d stands, 1 when the other
// decision does.
//
// A revert that cannot be written, say on a full /run, counts as decided unless
// a confirm is there: the agent's commit begins by writing one, so without it
// nothing has been committed.
func DecideVerb(dir, id string, d activate.Decision) (exit int, err error) {
	got, err := activate.Decide(dir, id, d)
	switch {
	case err == nil && got == d:
		return 0, nil
	case err == nil:
		return 1, nil
	case d == activate.Revert && validID(id) == nil:
		raw, _ := readRegular(filepath.Join(dir, "decision-"+id), 64, false)
		if strings.TrimSpace(string(raw)) == string(activate.Confirm) {
			return 1, err
		}
		return 0, err
	}
	return 1, err
}

// clock reads one of the kernel's clocks.
func clock(id int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

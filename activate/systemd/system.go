// Package systemd runs what activate decides as transient units of PID 1.
//
// A switch restarts the agent that asked for it, so nothing here is a child of
// the agent: PID 1 starts it, bounds it and leaves its result in a file. It
// talks to systemd's private socket only. It takes no decision of its own; the
// one thing that acts without the agent is the guard.
//
// It does not look into a toplevel beyond bin/switch-to-configuration, and it
// does not evaluate or build; Runner runs others that do.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"pullnode/activate"
)

// System is activate.System on a machine that runs systemd 252 or newer.
type System struct {
	Settings
	bus   bus
	pause time.Duration // between two looks at a unit
}

var _ activate.System = (*System)(nil)

// New fails when a setting is missing or a program that it names is not there.
// It does not talk to systemd yet.
func New(s Settings) (*System, error) {
	s, err := s.check()
	if err != nil {
		return nil, err
	}
	return &System{Settings: s, bus: &private{}, pause: 100 * time.Millisecond}, nil
}

// StartTest starts the switch and returns when it runs or has already ended.
func (s *System) StartTest(ctx context.Context, id string, p activate.StorePath) error {
	return s.startSwitch(ctx, id, s.switchProps(id, string(p)))
}

// StartBack is StartTest without pre-switch checks.
func (s *System) StartBack(ctx context.Context, id string, p activate.StorePath) error {
	return s.startSwitch(ctx, id, s.backProps(id, string(p)))
}

func (s *System) startSwitch(ctx context.Context, id string, props []dbus.Property) error {
	if err := validID(id); err != nil {
		return err
	}
	if _, err := readRecord(s.Paths.Run, id); !errors.Is(err, ErrNoResult) {
		return err
	}
	return s.ensure(ctx, switchUnit(id), func() error {
		return s.bus.start(ctx, switchUnit(id), props)
	}, func() bool {
		_, err := readRecord(s.Paths.Run, id)
		return err == nil
	})
}

// Result reads the record of the run; only without one it asks systemd.
func (s *System) Result(ctx context.Context, id string) (activate.Result, error) {
	if err := validID(id); err != nil {
		return activate.Result{}, err
	}
	e, err := readRecord(s.Paths.Run, id)
	if errors.Is(err, ErrNoResult) {
		var st state
		st, err = s.look(ctx, switchUnit(id))
		if err != nil {
			return activate.Result{}, err
		}
		if st.runs() {
			return activate.Result{}, nil
		}
		// The record is older than the rest, so a run that ended between the
		// two looks has one now.
		e, err = readRecord(s.Paths.Run, id)
		if errors.Is(err, ErrNoResult) {
			return activate.Result{Lost: true}, nil
		}
	}
	if err != nil {
		return activate.Result{}, err
	}
	return e.asResult(), nil
}

func (e Ended) asResult() activate.Result {
	exit, exited := e.exit()
	switch {
	case e.Result == "timeout":
		// Also when it caught SIGTERM and exited with a status of its own:
		// that one says nothing about the system.
		return activate.Result{Done: true, Exit: exit, Signal: "timeout"}
	case exited:
		return activate.Result{Done: true, Exit: exit}
	case e.Code == "killed" || e.Code == "dumped":
		return activate.Result{Done: true, Signal: e.Status}
	}
	// systemd could not even start it.
	return activate.Result{Lost: true}
}

// StopTest stops the switch and waits until it is at rest.
func (s *System) StopTest(ctx context.Context, id string) error {
	if err := validID(id); err != nil {
		return err
	}
	return s.stop(ctx, switchUnit(id))
}

// Decide is activate.Decide in the run directory.
func (s *System) Decide(id string, d activate.Decision) (activate.Decision, error) {
	return activate.Decide(s.Paths.Run, id, d)
}

// ensure calls start until the unit runs or ended says that it already has.
// It looks first: a start whose answer was lost may have happened.
func (s *System) ensure(ctx context.Context, unit string, start func() error, ended func() bool) error {
	began := false
	return s.patiently(ctx, func() (bool, error) {
		if ended() {
			return true, nil
		}
		st, err := s.bus.state(ctx, unit)
		if err != nil {
			return false, err
		}
		if st.active == "active" || st.active == "deactivating" || began && !st.runs() {
			return true, nil
		}
		if !st.runs() {
			if err := start(); err != nil && !errors.Is(err, errExists) {
				return false, err
			}
			began = true
		}
		return false, nil
	})
}

// stop stops the unit and waits until it is at rest.
func (s *System) stop(ctx context.Context, unit string) error {
	asked := false
	return s.patiently(ctx, func() (bool, error) {
		st, err := s.bus.state(ctx, unit)
		if err != nil || !st.runs() {
			return err == nil, err
		}
		if !asked {
			if err := s.bus.stop(ctx, unit); err != nil {
				return false, err
			}
			asked = true
		}
		return false, nil
	})
}

// rest waits until the unit is at rest.
func (s *System) rest(ctx context.Context, unit string) error {
	return s.patiently(ctx, func() (bool, error) {
		st, err := s.bus.state(ctx, unit)
		return err == nil && !st.runs(), err
	})
}

func (s *System) look(ctx context.Context, unit string) (st state, err error) {
	err = s.patiently(ctx, func() (bool, error) {
		st, err = s.bus.state(ctx, unit)
		return err == nil, err
	})
	return st, err
}

// patiently repeats step until it is done or ctx ends. A step may fail for as
// long as Patience without an answer in between: during daemon-reexec nobody
// answers, and that says nothing about the unit.
func (s *System) patiently(ctx context.Context, step func() (bool, error)) error {
	return patiently(ctx, s.Patience, s.pause, step)
}

func patiently(ctx context.Context, patience, pause time.Duration, step func() (bool, error)) error {
	var since time.Time
	for {
		done, err := step()
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			since = time.Time{}
		case refused(err):
			return err
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > patience:
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w%s", ctx.Err(), because(err))
		}
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

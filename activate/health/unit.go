package health

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pullnode/internal/registry"
)

func init() {
	registry.Add(&Kinds, "unit", func(s unitSettings) (Maker, error) {
		units, err := s.names()
		if err != nil {
			return Maker{}, err
		}
		return Maker{Make: func(_ Spec, seams Seams) (Check, error) {
			if seams.Systemd == nil {
				return nil, errors.New("no systemd to ask here")
			}
			return unit{seams.Systemd, units, s.Oneshot}, nil
		}}, nil
	})
}

type unitSettings struct {
	Unit    string   `json:"unit"`
	Units   []string `json:"units"`
	Oneshot bool     `json:"oneshot"` // may also have ended well
}

func (s unitSettings) names() ([]string, error) {
	all := s.Units
	if s.Unit != "" {
		all = append([]string{s.Unit}, all...)
	}
	if len(all) == 0 {
		return nil, errors.New("unit: names no unit")
	}
	out := make([]string, len(all))
	for i, name := range all {
		if name == "" || len(name) > 255 || strings.ContainsAny(name, "/ \t\n\x00*?[") {
			return nil, fmt.Errorf("unit: %q is not the name of a unit", name)
		}
		if !strings.Contains(name, ".") {
			name += ".service"
		}
		out[i] = name
	}
	return out, nil
}

type unit struct {
	systemd Systemd
	names   []string
	oneshot bool
}

// Run asks for each unit. One that has failed is worth more than one that nobody
// knows, and that more than one that is starting.
func (u unit) Run(ctx context.Context) error {
	var failed, unknown, notYet []error
	for _, name := range u.names {
		s, err := u.systemd.Unit(ctx, name)
		if err != nil {
			unknown = append(unknown, fmt.Errorf("%w: ask systemd for %s: %w", ErrUnknown, name, err))
			continue
		}
		switch err := u.judge(name, s); {
		case errors.Is(err, ErrNotYet):
			notYet = append(notYet, err)
		case err != nil:
			failed = append(failed, err)
		}
	}
	for _, errs := range [][]error{failed, unknown, notYet} {
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}

func (u unit) judge(name string, s UnitState) error {
	switch {
	case s.Load == "not-found":
		return fmt.Errorf("%s does not exist", name)
	case s.Load != "loaded":
		return fmt.Errorf("%s is %s", name, s.Load)
	case s.Active == "active" || s.Active == "reloading" || s.Active == "refreshing":
		return nil
	case s.Active == "activating" && s.Sub == "auto-restart":
		return fmt.Errorf("%s keeps restarting (%s)", name, s.Result)
	case s.Active == "activating":
		return fmt.Errorf("%w: %s is starting", ErrNotYet, name)
	case s.Active == "inactive" && u.oneshot && s.Result == "success":
		return nil
	}
	return fmt.Errorf("%s is %s (%s, %s)", name, s.Active, s.Sub, s.Result)
}

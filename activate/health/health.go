// Package health says whether a system that is being tried is well.
//
// A Check is one question; each kind of check is one file that adds itself to
// Kinds. Judge asks them again and again after a switch, compares the answers
// with a Baseline that was taken before it, and gives a Report. The lifeline, can
// this node still reach its remote, is always asked and is no kind: see
// Lifeline.
//
// The package decides nothing about the try: whoever called reads the verdict.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pullnode/internal/registry"
)

// Check is one question to the running system. Run gives nil when all is well;
// an error that wraps ErrNotYet when it is to be asked again before it counts as
// failed; one that wraps ErrUnknown when nobody could say. Any other error is a
// failure; its text is shown. Run returns soon after ctx is done, keeps nothing
// between calls (every call connects anew) and may be called concurrently.
type Check interface {
	Run(ctx context.Context) error
}

// ErrUnknown marks an answer that proves nothing: the one who was asked could
// not say. systemd answers so while it re-executes itself.
var ErrUnknown = errors.New("unknown")

// ErrNotYet marks the answer of something that is still starting.
var ErrNotYet = errors.New("not yet")

// UnitState is what systemd says of a unit, in systemd's own words.
type UnitState struct {
	Load, Active, Sub string
	NRestarts         uint32
	Result            string // "success", "exit-code", "start-limit-hit", ...
}

// Systemd answers about units. An error means that the truth is unknown, never
// that a unit is gone: a unit that does not exist has Load "not-found".
type Systemd interface {
	Unit(ctx context.Context, name string) (UnitState, error)
	// Failed gives the names of all units that have failed.
	Failed(ctx context.Context) ([]string, error)
}

// Started is which run of a unit this is, and of what.
type Started struct {
	Invocation string `json:"invocation,omitempty"` // systemd's id of the run, empty when it never ran
	File       string `json:"file,omitempty"`       // digest of its unit file and drop-ins
	NRestarts  uint32 `json:"restarts,omitempty"`
}

// Command is one run of a command check.
type Command struct {
	Check   string // name of the check
	Argv    []string
	User    string // "" for whoever has the least authority
	Timeout time.Duration
}

// CommandResult is how a command ended.
type CommandResult struct {
	Exit     int
	Signal   string // set when it was killed by one
	TimedOut bool
	Output   string // the end of what it printed
}

// Commander runs the commands of command checks: as a transient unit, or as a
// plain child (see Plain). It kills the command with all its children at the
// timeout and when ctx is done. An error means that the command could not be
// started or watched.
type Commander interface {
	Command(ctx context.Context, c Command) (CommandResult, error)
}

// Seams is what checks need of the machine. A check whose seam is nil is refused
// by Open.
type Seams struct {
	Systemd   Systemd
	Commander Commander
}

// Maker makes a check of a kind; its settings are valid already.
type Maker struct {
	// Network says that the check opens connections, and so belongs in a
	// process that may.
	Network bool
	Make    func(spec Spec, s Seams) (Check, error)
}

// Kinds holds every kind of check.
var Kinds registry.Kinds[Maker]

// Spec is what all kinds have in common.
type Spec struct {
	Name     string
	Required bool
	Timeout  time.Duration
	Network  bool
	// Fingerprint is equal for equal settings: a check that the candidate
	// changed is another check.
	Fingerprint string
}

// Named is a check with its Spec.
type Named struct {
	Spec
	Check Check
}

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
)

// common are the settings that every kind has beside its own.
type common struct {
	Required *bool    `json:"required"`
	Timeout  Duration `json:"timeout"`
}

// Open makes the checks of health.checks, sorted by name. Each is an object with
// "type", "required" (default true), "timeout" (default 10s) and the settings of
// its kind. All that is wrong is reported at once, each as
// "health.checks.<name>: ...".
func Open(settings map[string]json.RawMessage, seams Seams) ([]Named, error) {
	var (
		checks []Named
		errs   []error
	)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		n, err := openOne(name, settings[name], seams)
		if err != nil {
			errs = append(errs, fmt.Errorf("health.checks.%s: %w", name, err))
			continue
		}
		checks = append(checks, n)
	}
	return checks, errors.Join(errs...)
}

func openOne(name string, raw json.RawMessage, seams Seams) (n Named, err error) {
	if !validName(name) {
		return n, errors.New("the name may hold letters, digits, \"-\" and \"_\", at most 64")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return n, errors.New("want an object with a \"type\"")
	}
	n.Spec = Spec{Name: name, Required: true, Timeout: defaultTimeout}
	if n.Fingerprint, err = fingerprint(raw); err != nil {
		return n, err
	}
	// The common settings are taken out here, so that no kind repeats them.
	own := map[string]json.RawMessage{}
	for _, k := range []string{"required", "timeout"} {
		if v, ok := fields[k]; ok {
			own[k] = v
			delete(fields, k)
		}
	}
	ownRaw, err := json.Marshal(own)
	if err != nil {
		return n, err
	}
	var c common
	if err := registry.Strict(ownRaw, &c); err != nil {
		return n, err
	}
	if c.Required != nil {
		n.Required = *c.Required
	}
	if d := time.Duration(c.Timeout); d > maxTimeout {
		return n, fmt.Errorf("timeout: %v is over %v", d, maxTimeout)
	} else if d > 0 {
		n.Timeout = d
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return n, err
	}
	m, err := Kinds.Open(rest)
	if err != nil {
		return n, err
	}
	n.Network = m.Network
	n.Check, err = m.Make(n.Spec, seams)
	return n, err
}

// validName: the name becomes part of a unit's name.
func validName(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// fingerprint does not depend on the order of fields or on white space.
func fingerprint(raw json.RawMessage) (string, error) {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", err
	}
	out, err := json.Marshal(v)
	return string(out), err
}

// Duration is a time.Duration that is written like "5s" in settings.
type Duration time.Duration

// UnmarshalJSON takes a string like "1m30s" that is above zero.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("want a duration like \"5s\", got %s", raw)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("want a duration like \"5s\", got %q", s)
	}
	*d = Duration(v)
	return nil
}

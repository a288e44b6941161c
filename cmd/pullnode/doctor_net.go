package main

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"os/user"
	"strings"

	"pullnode/activate/health"
	"pullnode/sync"
	"pullnode/sync/fetch"
)

// remotes asks each remote once for the branch, as the lifeline does.
func (d *doctor) remotes(ctx context.Context) {
	if d.unset("remote") {
		return
	}
	for _, r := range d.config.Remotes {
		ask, cancel := context.WithTimeout(ctx, lifelineTimeout)
		err := askRemote(ask, d.config, r, credential(r.Auth))
		cancel()
		if err == nil {
			d.ok("remote", "%s  %s has %s", r.Name, r.URL, d.config.Branch)
			continue
		}
		var class *fetch.Error
		next := failureHints[string(sync.Internal)]
		switch {
		case errors.Is(err, fs.ErrPermission):
			next = "only root may read its credential: sudo pullnode doctor"
		case errors.Is(err, fs.ErrNotExist):
			next = "put its credential there, readable by root alone"
		case errors.As(err, &class):
			next = failureHints[string(class.Class)]
		}
		d.fail("remote", next, "%s  %s: %v", r.Name, r.URL, err)
	}
}

// key asks whether the host's key can be had; only its public half comes back.
func (d *doctor) key(ctx context.Context) {
	if d.unset("key") {
		return
	}
	if len(d.config.Keys.Sources) == 0 {
		d.ok("key", "no source is set: pullnode touches no secrets")
		return
	}
	prover, err := d.keys(d.config)
	var recipients []string
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, proveTimeout)
		defer cancel()
		_, recipients, err = prover.Preflight(ctx, nil)
	}
	if err != nil {
		d.fail("key", "docs/keys.md says how each source is set up; a commit with secrets waits until the key is there", "%v", err)
		return
	}
	d.ok("key", "%s", strings.Join(recipients, ", "))
}

// checks asks every health check once, as it stands now.
func (d *doctor) checks(ctx context.Context) {
	if d.unset("health") {
		return
	}
	if len(d.config.Health.Checks) == 0 {
		d.warn("health", "set health.checks: docs/health.md", "there are no checks: a system that only looks well is kept")
		return
	}
	list, err := health.Open(d.config.Health.Checks, d.seams)
	if err != nil {
		d.fail("health", "put it right in the settings", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	for _, r := range health.RunAll(ctx, list) {
		switch r.State {
		case health.OK:
			d.ok("health", "%s", r.Name)
		case health.Unknown:
			d.fail("health", "a check that nobody can answer makes every try inconclusive", "%s: %s", r.Name, r.Text)
		default:
			d.warn("health", "while it fails on the running system too, it does not count against a new one", "%s: %s", r.Name, r.Text)
		}
	}
}

// unset says that there are no settings to look by.
func (d *doctor) unset(part string) bool {
	if d.config != nil {
		return false
	}
	d.add(part, levelSkip, "", "not tried: the settings are not valid")
	return true
}

// noSystemd is where systemd does not run.
type noSystemd struct{}

var errNoSystemd = errors.New("systemd does not run here")

func (noSystemd) Unit(context.Context, string) (health.UnitState, error) {
	return health.UnitState{}, errNoSystemd
}
func (noSystemd) Failed(context.Context) ([]string, error) { return nil, errNoSystemd }

// lookedUp answers for commands that only a unit of their own may run: is there
// such a program, is there such a user.
type lookedUp struct{}

func (lookedUp) Command(_ context.Context, c health.Command) (health.CommandResult, error) {
	if _, err := exec.LookPath(c.Argv[0]); err != nil {
		return health.CommandResult{Exit: 127, Output: err.Error()}, nil
	}
	if c.User != "" {
		if _, err := user.Lookup(c.User); err != nil {
			return health.CommandResult{Exit: exitUser, Output: err.Error()}, nil
		}
	}
	return health.CommandResult{}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"pullnode/activate"
	"pullnode/activate/health"
	"pullnode/activate/plain"
	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/internal/state"
	"pullnode/sync"
	"pullnode/sync/fetch"
)

// nobody answers like a systemd and a commander that know nothing: enough to
// check settings where neither is.
type nobody struct {
	health.Systemd
	health.Commander
}

// openKinds opens every key source and health check of the settings, to find
// what is wrong with them.
func openKinds(c *config.Config) error {
	_, herr := health.Open(c.Health.Checks, health.Seams{Systemd: nobody{}, Commander: nobody{}})
	_, kerr := chain(c)
	var rerr error
	if c.RecoveryKey != "" {
		if _, err := sync.KeyFingerprint(c.RecoveryKey); err != nil {
			rerr = fmt.Errorf("recoveryKey: %w", err)
		}
	}
	return errors.Join(herr, kerr, rerr)
}

// onePlace makes an agent that lives in one directory and one process, without
// systemd: for trying pullnode out and for the demo.
func onePlace(c *config.Config, root string, log *slog.Logger) (*agent.Agent, error) {
	dirs := agent.Dirs{State: filepath.Join(root, "state"), Run: filepath.Join(root, "run"),
		Answer: filepath.Join(root, "sync", "answer"), Report: filepath.Join(root, "sync", "report"), Scratch: filepath.Join(root, "state")}
	for _, d := range []string{dirs.State, dirs.Run, filepath.Join(dirs.Run, "request"), filepath.Join(root, "sync"), filepath.Join(root, "roots"), filepath.Join(root, "home"), filepath.Join(root, "cache"), filepath.Join(root, "config")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	sys := &plain.System{Root: root, Self: self, SwitchTimeout: c.Build.SwitchTimeout.D(), Env: ownStore(root)}
	store, err := openStore(placeState(root))
	if err != nil {
		return nil, err
	}
	checks, err := health.Open(c.Health.Checks, health.Seams{Commander: health.Plain{}})
	if err != nil {
		return nil, err
	}
	keys, err := chain(c)
	if err != nil {
		return nil, err
	}
	fetcher, probes, err := inProcess(c, root, dirs, log)
	if err != nil {
		return nil, err
	}
	a := &agent.Agent{Config: c, Store: store, Fetcher: fetcher, System: sys, Dirs: dirs, Log: log, Now: time.Now, Random: random,
		Preflight: newSecretGuard(c, sys, sys.Store(), keys, log, dirs.State).check}
	a.Wake = func(ctx context.Context) <-chan struct{} {
		up, err := fetch.NetworkUp(ctx)
		if err != nil {
			log.Warn("a network that comes up is not noticed", "err", err)
		}
		return up
	}
	a.Builder = builder(c, sys, sys.Store(), dirs.Scratch, filepath.Join(root, "roots", "candidate"), filepath.Join(root, "nix", "var", "nix", "gcroots", "pullnode"))
	a.Activator = &activate.Activator{System: sys, Guard: c.GuardTimeout(), SwitchTimeout: c.Build.SwitchTimeout.D(),
		Journal: agent.Journal{Store: store, Meta: a.Meta},
		Health: &agent.Health{Timing: timing(c), Checks: checks,
			Lifeline: &health.Lifeline{Probes: probes, Window: c.Lifeline.Window.D(), Interval: c.Health.Interval.D(), Timeout: 10 * time.Second}}}
	return a, nil
}

// placeState is where the state of the one-process mode is.
var placeState = func(root string) state.Config {
	return state.Config{Dir: filepath.Join(root, "state"), FloorPath: filepath.Join(root, "floor", "floor.json")}
}

// openStore opens a state also where nothing may be stored: the agent stays up
// and says so, instead of being started again and again.
func openStore(c state.Config) (*state.Store, error) {
	s, err := state.Open(c)
	if s != nil {
		return s, nil
	}
	return nil, err
}

// ownStore points nix at a store below root, so that nothing of the machine's
// own is touched.
func ownStore(root string) []string {
	nix := filepath.Join(root, "nix")
	return []string{"NIX_STORE_DIR=" + nix + "/store", "NIX_STATE_DIR=" + nix + "/var/nix", "NIX_LOG_DIR=" + nix + "/var/log",
		"NIX_CONF_DIR=" + nix + "/etc", "NIX_REMOTE=",
		"NIX_CONFIG=sandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes"}
}

func timing(c *config.Config) health.Timing {
	return health.Timing{Settle: c.Health.Settle.D(), Window: c.Health.Window.D(), Interval: c.Health.Interval.D(),
		Successes: c.Health.Successes, Failures: 3}
}

func builder(c *config.Config, r activate.Runner, store activate.Store, scratch, link, roots string) *activate.Builder {
	return &activate.Builder{Runner: r, Store: store, Scratch: scratch, Dir: c.Dir, Attr: c.Toplevel(), HostName: c.HostName,
		Limits: sync.Limits{Files: c.Fetch.MaxFiles}, Cores: c.Build.Cores, Eval: c.Build.EvalTimeout.D(), Build: c.Build.Timeout.D(),
		Silent: c.Build.MaxSilentTime.D(), IFD: c.Build.AllowImportFromDerivation, RootLink: link,
		Roots: activate.Roots{Dir: roots, Store: store}}
}

func random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(d)))
}

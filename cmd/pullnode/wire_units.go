package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pullnode/activate"
	"pullnode/activate/health"
	"pullnode/activate/systemd"
	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/internal/state"
	"pullnode/keysrc"
	"pullnode/sync"
)

// The places of an installed host. Each belongs to one unit; see
// docs/architecture.md.
const (
	syncDir   = "/var/lib/pullnode-sync"
	floorPath = "/nix/var/pullnode/floor.json"
	rootsDir  = "/nix/var/nix/gcroots/pullnode"
	unitsDir  = stateDir + "/units"
	wantPath  = runDir + "/want"
)

// installed makes the agent of pullnode.service: root, without a network, with
// PID 1 doing what needs authority and other units doing what needs none.
func installed(c *config.Config, path string, log *slog.Logger) (*agent.Agent, error) {
	for _, d := range []string{unitsDir, filepath.Join(stateDir, "tmp")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	dirs := agent.Dirs{State: stateDir, Run: runDir, Answer: syncDir + "/answer", Report: syncDir + "/report", Scratch: stateDir + "/tmp"}
	settings := systemd.Settings{SwitchMax: c.Build.SwitchTimeout.D()}
	if c.Keys.HandsOver() {
		settings.Handoff = handoffUnit
	}
	if len(c.Keys.Sources) > 0 {
		settings.Hold = holdUnit
	}
	sys, err := systemd.New(settings)
	if err != nil {
		return nil, err
	}
	runner, err := systemd.NewRunner(systemd.RunnerSettings{Records: runDir, Units: unitsDir, Cache: "/var/cache"})
	if err != nil {
		return nil, err
	}
	store, err := openStore(state.Config{Dir: stateDir, FloorPath: floorPath})
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	units := systemd.NewUnits(systemd.UnitsSettings{})
	checks, err := health.Open(c.Health.Checks, health.Seams{Systemd: units, Commander: commander{runner}})
	if err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + stateDir, "XDG_CACHE_HOME=" + stateDir + "/tmp", "NIX_REMOTE=daemon", "LC_ALL=C"}
	keys := keysrc.Client{Path: keySocket}
	a := &agent.Agent{Config: c, Store: store, Fetcher: asker{dirs}, System: sys, Dirs: dirs, Log: log, Now: time.Now, Random: random,
		Preflight: preflight{startsPullnode, newSecretGuard(c, sys, activate.Store{Env: env}, keys, log, stateDir).check}.run}
	a.Wake = func(ctx context.Context) <-chan struct{} { return reportedUp(ctx, dirs.Report, log) }
	a.Builder = builder(c, runner, activate.Store{Env: env}, dirs.Scratch, "/var/cache/pullnode-build/result", rootsDir)
	a.Activator = &activate.Activator{System: sys, Guard: c.GuardTimeout(), SwitchTimeout: c.Build.SwitchTimeout.D(),
		Journal: agent.Journal{Store: store, Meta: a.Meta},
		Health: &agent.Health{Timing: timing(c), Checks: checks, Systemd: units, Starts: units, AllowRestarts: c.Health.AllowRestarts, Ask: health.Split(nil, networkAsk(runner, self)),
			Lifeline: &health.Lifeline{Window: c.Lifeline.Window.D(), Interval: c.Health.Interval.D(), Timeout: time.Minute,
				Probes: lifelineProbes(runner, c, self, path)}}}
	return a, nil
}

// startsPullnode refuses a system that would leave the machine without its
// agent, unless the commit says that it is meant to.
func startsPullnode(_ context.Context, v sync.Verified, c activate.Candidate) error {
	unit := filepath.Join(string(c.Out), "etc/systemd/system/multi-user.target.wants/pullnode.service")
	if _, err := os.Stat(unit); err == nil {
		return nil
	}
	host, _ := os.Hostname()
	if slices.Contains(v.Commit().Trailers("Pullnode-Retire"), host) {
		return nil
	}
	return fmt.Errorf("the new system does not start pullnode.service; if that is meant, say so in a signed commit: Pullnode-Retire: %s", host)
}

// commander runs the command checks, each in a unit of its own.
type commander struct{ activate.Runner }

// exitUser is how systemd ends a unit whose user it cannot become: systemd.exec(5),
// "Process Exit Codes".
const exitUser = 217

// Command runs one check. It may open connections, as the others may: most
// commands ask a service.
func (r commander) Command(ctx context.Context, c health.Command) (health.CommandResult, error) {
	j, err := r.Run(ctx, activate.Job{Name: "check-" + c.Check, Argv: c.Argv, Network: true, User: c.User, Timeout: c.Timeout})
	out := health.CommandResult{Exit: j.Exit, TimedOut: j.Reason == "timeout", Output: string(j.Out) + string(j.Err)}
	if j.Reason != "" && !out.TimedOut {
		out.Signal = j.Reason
	}
	if j.Exit == exitUser && c.User != "" && out.Output == "" {
		out.Output = "systemd cannot run it as the user " + c.User
	}
	return out, err
}

// networkAsk asks the checks that open connections in a unit that may.
func networkAsk(r activate.Runner, self string) health.Ask {
	return func(ctx context.Context, checks []health.Named) []health.Result {
		answers, err := func() ([]health.Result, error) {
			raw, err := json.Marshal(health.Settings(checks))
			if err != nil {
				return nil, err
			}
			j, err := r.Run(ctx, activate.Job{Name: "health", Argv: []string{self, "ask-checks", string(raw)}, Network: true, Timeout: 11 * time.Minute})
			if err != nil {
				return nil, err
			}
			if j.Exit != 0 || j.Reason != "" {
				return nil, fmt.Errorf("the unit of the checks ended with %d %s", j.Exit, j.Reason)
			}
			return health.DecodeAnswers(j.Out)
		}()
		byName := map[string]health.Result{}
		for _, a := range answers {
			byName[a.Name] = a
		}
		out := make([]health.Result, len(checks))
		for i, c := range checks {
			a, ok := byName[c.Name]
			if !ok {
				a = health.Result{Name: c.Name, State: health.Unknown, Text: fmt.Sprintf("not answered (%v)", err)}
			}
			out[i] = a
		}
		return out
	}
}

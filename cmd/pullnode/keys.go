package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"pullnode/activate"
	"pullnode/internal/config"
	"pullnode/keysrc"
	"pullnode/sync"
)

const (
	keySocket   = keysrc.DefaultSocket
	holdUnit    = "pullnode-hold.service"
	handoffUnit = "pullnode-handoff.service"
	// proveTimeout is how long the keys process may take to get the key and try
	// every file.
	proveTimeout = 2 * time.Minute
	// handoffTimeout ends before TimeoutStartSec= of pullnode-handoff.service,
	// so that the error names the source.
	handoffTimeout = 50 * time.Second
)

func chain(c *config.Config) (keysrc.Chain, error) {
	ch, err := keysrc.Settings{Recipient: c.Keys.Recipient, Sources: c.Keys.Sources}.Open()
	if err != nil {
		return ch, fmt.Errorf("keys.%w", err)
	}
	return ch, nil
}

// keysProcess is pullnode-keys.service.
func keysProcess(ctx context.Context, c *config.Config) error {
	ch, err := chain(c)
	if err != nil {
		return err
	}
	l, err := keysrc.ActivatedListener()
	if err != nil {
		return err
	}
	if l == nil {
		return hint(errors.New("systemd passed no socket: this process is started by its unit only"), "sudo systemctl start pullnode-keys.socket")
	}
	// No core dump of this process, whoever starts it.
	if err := noDumps(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	a := keysrc.Agent{Keys: ch, Log: log, Hold: keysrc.Hold(c.Keys.Hold), Busy: keysrc.FileExists(keysrc.HoldFile), Store: &keysrc.FDStore{},
		OnMissing: keysrc.OnMissing(c.Keys.OnMissing), Arrived: startSecrets(log)}
	if dir := os.Getenv("LOGS_DIRECTORY"); dir != "" {
		a.Audit = &keysrc.Audit{Path: filepath.Join(dir, "audit.jsonl")}
	}
	if a.Held, err = a.Store.Restore(ch.Recipient); err != nil {
		// The sources are asked anew; who has swapped a key is told there.
		log.Warn("lost the key over the restart", "err", err)
	}
	daemon.SdNotify(false, daemon.SdNotifyReady)
	return a.Serve(ctx, l)
}

// secretsTarget is started when the key comes late.
const secretsTarget = "pullnode-secrets.target"

// startSecrets starts what failed at boot for want of its secrets.
func startSecrets(log *slog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		conn, err := dbus.NewSystemdConnectionContext(ctx)
		if err == nil {
			defer conn.Close()
			// What wants the target is started with it, also what has failed.
			_, err = conn.StartUnitContext(ctx, secretsTarget, "replace", nil)
		}
		if err != nil {
			log.Warn("cannot start what waits for secrets", "unit", secretsTarget, "err", err)
		}
	}
}

// noDumps keeps this process out of core dumps, and from the eyes of other
// processes that are not root.
func noDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}

// handoffCommand is pullnode-handoff.service: "start" gets the key by the chain
// itself, never from the keys process, which gives it to nobody; "stop" needs no
// settings, so that damaged ones cannot keep the key on the machine.
func handoffCommand() *command {
	var path string
	return &command{args: "start|stop", minArg: 1, maxArg: 1, flags: func(fs *flag.FlagSet) {
		fs.StringVar(&path, "config", configPath, "settings file")
	}, run: func(ctx context.Context, args []string, _ io.Writer) error {
		h := keysrc.Handoff{Dir: keysrc.HandoffDir, Copies: keysrc.SopsNixCopies}
		switch args[0] {
		case "stop":
			return h.Remove()
		case "start":
			return handOver(ctx, h, path)
		}
		return usageError("handoff: %q is neither start nor stop", args[0])
	}}
}

func handOver(ctx context.Context, h keysrc.Handoff, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	ch, err := chain(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handoffTimeout)
	defer cancel()
	k, err := ch.Fetch(ctx)
	if err != nil {
		return err
	}
	defer k.Wipe()
	if err := h.Start(k); err != nil {
		return err
	}
	slog.New(slog.NewTextHandler(os.Stderr, nil)).Info("handed the key over", "file", h.Path(), "source", k.From(), "recipient", k.Recipient())
	return nil
}

// preflight is agent.Agent's: all of them must agree, in this order.
type preflight []func(context.Context, sync.Verified, activate.Candidate) error

func (p preflight) run(ctx context.Context, v sync.Verified, c activate.Candidate) error {
	for _, f := range p {
		if err := f(ctx, v, c); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"

	"pullnode/activate/health"
	"pullnode/activate/systemd"
	"pullnode/internal/config"
	"pullnode/keysrc"
	"pullnode/sync/fetch"
)

// configPath is where an installed machine has the settings.
const configPath = "/etc/pullnode/pullnode.json"

// unitCommands are the verbs that only units call; nobody types them.
func unitCommands() map[string]*command {
	return map[string]*command{
		"pushed":            pushedCommand(),
		"installer-network": installerNetworkCommand("/proc/cmdline", "/run/NetworkManager/system-connections"),
		"dirs": {run: func(context.Context, []string, io.Writer) error {
			for _, d := range ownDirs {
				if err := os.MkdirAll(d.path, d.mode); err != nil {
					return err
				}
				if err := os.Chmod(d.path, d.mode); err != nil {
					return err
				}
			}
			return nil
		}},
		"record": {minArg: 1, maxArg: 1, run: func(_ context.Context, args []string, _ io.Writer) error {
			return systemd.Record(runDir, args[0], os.Getenv)
		}},
		"clean-loader": {minArg: 1, maxArg: 1, run: func(_ context.Context, args []string, _ io.Writer) error {
			return systemd.CleanLoader(args[0])
		}},
		"ask-checks": {minArg: 1, maxArg: 1, run: func(ctx context.Context, args []string, out io.Writer) error {
			var settings map[string]json.RawMessage
			if err := json.Unmarshal([]byte(args[0]), &settings); err != nil {
				return err
			}
			return health.Serve(ctx, settings, out)
		}},
		"sync-daemon": configCommand(syncDaemon),
		"keys":        configCommand(keysProcess),
		"handoff":     handoffCommand(),
		"hold":        holdCommand(),
		"await-key":   configCommand(awaitKey),
		"keyfetch":    keyfetchCommand(),
		"plugin-file": {run: func(context.Context, []string, io.Writer) error {
			return os.WriteFile(keysrc.PluginFile, []byte(keysrc.PluginIdentity("")+"\n"), 0o600)
		}},
		"lifeline": lifelineCommand(),
	}
}

func configCommand(do func(context.Context, *config.Config) error) *command {
	var path string
	return &command{flags: func(fs *flag.FlagSet) {
		fs.StringVar(&path, "config", configPath, "settings file")
	}, run: func(ctx context.Context, _ []string, _ io.Writer) error {
		c, err := config.Load(path)
		if err != nil {
			return err
		}
		return do(ctx, c)
	}}
}

// syncDaemon is pullnode-sync.service.
func syncDaemon(ctx context.Context, c *config.Config) error {
	child, err := childCommand()
	if err != nil {
		return err
	}
	creds := map[string]fetch.Auth{}
	for _, r := range c.Remotes {
		creds[r.Name] = unitCredential(r)
	}
	s, err := fetch.New(fetch.Config{WantPath: wantPath, AnswerPath: syncDir + "/answer", ReportPath: syncDir + "/report",
		RepoDir: syncDir + "/repo", Credentials: creds, Limits: fetchLimits(c), Child: child,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

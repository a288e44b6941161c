package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"pullnode/activate"
	"pullnode/activate/health"
	"pullnode/internal/config"
	"pullnode/sync/fetch"
)

// credentials are what a unit that asks the remote must be given: the names are
// those that unitCredential reads.
func credentials(r config.Remote) map[string]string {
	m := map[string]string{}
	if r.Auth.TokenFile != "" {
		m[r.Name+".token"] = r.Auth.TokenFile
	}
	if r.Auth.KeyFile != "" {
		m[r.Name+".key"] = r.Auth.KeyFile
	}
	return m
}

// unitCredential points at what systemd delivered to this unit alone, under the
// names "<remote>.token" and "<remote>.key".
func unitCredential(r config.Remote) fetch.Auth {
	a := credential(r.Auth)
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return a
	}
	if a.TokenFile != "" {
		a.TokenFile = filepath.Join(dir, r.Name+".token")
	}
	if a.KeyFile != "" {
		a.KeyFile = filepath.Join(dir, r.Name+".key")
	}
	return a
}

// askRemote asks one remote for the branch over a new connection.
func askRemote(ctx context.Context, c *config.Config, r config.Remote, a fetch.Auth) error {
	return fetch.LsRemote(ctx, fetch.Options{Name: r.Name, URL: r.URL, Limits: fetchLimits(c)}, a, c.Branch)
}

// askTargets is nil when one of lifeline.targets accepts a connection.
func askTargets(ctx context.Context, c *config.Config) error {
	return health.Lifeline{Probes: targetProbes(c), Timeout: lifelineTimeout}.Run(ctx)
}

func targetProbes(c *config.Config) (probes []health.Probe) {
	for _, t := range c.Lifeline.Targets {
		probes = append(probes, func(ctx context.Context) error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	return probes
}

// lifelineTimeout is how long one place may take to answer; its unit has some
// more, to start and to say what is wrong.
const lifelineTimeout = 45 * time.Second

// lifelineCommand is the unit that asks one remote, or the targets, anew.
func lifelineCommand() *command {
	var path, remote string
	return &command{flags: func(fs *flag.FlagSet) {
		fs.StringVar(&path, "config", configPath, "settings file")
		fs.StringVar(&remote, "remote", "", "name of the remote to ask; without it the targets")
	}, run: func(ctx context.Context, _ []string, _ io.Writer) error {
		c, err := config.Load(path)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, lifelineTimeout)
		defer cancel()
		if remote == "" {
			return askTargets(ctx, c)
		}
		for _, r := range c.Remotes {
			if r.Name == remote {
				return askRemote(ctx, c, r, unitCredential(r))
			}
		}
		return fmt.Errorf("there is no remote %q in %s", remote, path)
	}}
}

// lifelineProbes ask every remote and the targets, each in a unit of its own
// that may open connections: so none sees another's credential, and one that is
// missing says nothing about the others.
func lifelineProbes(r activate.Runner, c *config.Config, self, path string) (probes []health.Probe) {
	for _, remote := range c.Remotes {
		probes = append(probes, lifelineProbe(r, activate.Job{Argv: []string{self, "lifeline", "--config", path, "--remote", remote.Name},
			Credentials: credentials(remote)}))
	}
	if len(c.Lifeline.Targets) > 0 {
		probes = append(probes, lifelineProbe(r, activate.Job{Argv: []string{self, "lifeline", "--config", path}}))
	}
	return probes
}

// exitCredentials is how systemd ends a unit whose credentials cannot be read:
// systemd.exec(5), "Process Exit Codes".
const exitCredentials = 243

func lifelineProbe(r activate.Runner, j activate.Job) health.Probe {
	j.Name, j.Network, j.Timeout = "lifeline", true, time.Minute
	return func(ctx context.Context) error {
		res, err := r.Run(ctx, j)
		switch {
		case err != nil:
			return err
		case res.Exit == exitCredentials && len(j.Credentials) > 0:
			return errors.New("systemd cannot read the credential: is the file of auth.tokenFile or auth.keyFile there?")
		case res.Exit != 0 || res.Reason != "":
			return errors.New(safe(string(res.Err)))
		}
		return nil
	}
}

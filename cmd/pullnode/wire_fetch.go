package main

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"pullnode/activate/health"
	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/sync"
	"pullnode/sync/fetch"
)

// fetchChildCommand is the body of the killable child that every fetch runs in.
func fetchChildCommand() *command {
	return &command{flags: func(*flag.FlagSet) {}, run: func(_ context.Context, _ []string, out io.Writer) error {
		if n := fetch.ChildMain(os.Stdin, out); n != 0 {
			return exitError(n)
		}
		return nil
	}}
}

// childCommand starts this binary as the fetching child, with an environment
// that holds no secret.
func childCommand() (func() *exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return func() *exec.Cmd {
		cmd := exec.Command(self, "fetch-child")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		return cmd
	}, nil
}

func fetchLimits(c *config.Config) fetch.Limits {
	return fetch.Limits{Fetch: c.Fetch.Timeout.D(), Pack: c.Fetch.MaxPack, Memory: uint64(c.Fetch.MaxMem)}
}

func credential(a config.Auth) fetch.Auth {
	return fetch.Auth{TokenFile: a.TokenFile, KeyFile: a.KeyFile, HostKey: a.HostKey}
}

// served makes the fetching service answer in this process.
type served struct{ *fetch.Server }

// Ask serves one request.
func (s served) Ask(ctx context.Context, w sync.Want) (sync.Report, error) {
	return s.Serve(ctx, w), ctx.Err()
}

// inProcess gives the fetching service of the one-process mode, and the probe of
// its lifeline.
func inProcess(c *config.Config, root string, dirs agent.Dirs, log *slog.Logger) (agent.Fetcher, []health.Probe, error) {
	child, err := childCommand()
	if err != nil {
		return nil, nil, err
	}
	creds := map[string]fetch.Auth{}
	var probes []health.Probe
	for _, r := range c.Remotes {
		creds[r.Name] = credential(r.Auth)
		probes = append(probes, func(ctx context.Context) error {
			return askRemote(ctx, c, r, credential(r.Auth))
		})
	}
	probes = append(probes, targetProbes(c)...)
	s, err := fetch.New(fetch.Config{AnswerPath: dirs.Answer, ReportPath: dirs.Report, RepoDir: filepath.Join(root, "sync", "repo"),
		Credentials: creds, Limits: fetchLimits(c), Child: child, Logger: log})
	return served{s}, probes, err
}

// streamClone writes the object stream of a tip in the operator's own clone, by
// the same code that serves a node.
func streamClone(ctx context.Context, gitDir, tip string, want sync.Want, answer string) (rep sync.Report, err error) {
	child, err := childCommand()
	if err != nil {
		return rep, err
	}
	tmp := filepath.Dir(answer)
	bare := filepath.Join(tmp, "clone")
	// A clone that borrows the objects, so that any commit can be its branch.
	if _, err := gitIn(ctx, tmp, "clone", "-q", "--bare", "--shared", gitDir, bare); err != nil {
		return rep, err
	}
	if _, err := gitIn(ctx, bare, "update-ref", "refs/heads/pullnode-verify", tip); err != nil {
		return rep, err
	}
	want.Branch, want.Remotes = "pullnode-verify", []sync.WantRemote{{Name: "clone", URL: bare}}
	s, err := fetch.New(fetch.Config{AnswerPath: answer, RepoDir: filepath.Join(tmp, "repo"), Child: child})
	if err != nil {
		return rep, err
	}
	defer s.Close()
	return s.Serve(ctx, want), nil
}

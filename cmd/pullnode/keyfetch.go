package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"pullnode/internal/config"
	"pullnode/keysrc"
	"pullnode/sync"
	"pullnode/sync/fetch"
)

// keyfetchCommand is pullnode-keyfetch@.service: it answers one request of the
// keys process, which must not parse what a Git server sends. Its standard input
// is the connection.
func keyfetchCommand() *command {
	return configCommand(func(ctx context.Context, c *config.Config) error {
		dir := os.Getenv("RUNTIME_DIRECTORY")
		if dir == "" {
			return hint(errors.New("systemd gave this process no directory in memory: it is started by its socket only"), "sudo systemctl start pullnode-keyfetch.socket")
		}
		return serveKeyfetch(ctx, c, os.Stdin, dir)
	})
}

// serveKeyfetch keeps what it fetches in dir and removes it again.
func serveKeyfetch(ctx context.Context, c *config.Config, conn io.ReadWriter, dir string) error {
	sources, err := keysrc.GitSources(c.Keys.Sources)
	if err != nil {
		return fmt.Errorf("keys.%w", err)
	}
	child, err := childCommand()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	return keysrc.ServeGit(conn, sources, func(s keysrc.GitSettings) (io.ReadCloser, sync.Report) {
		return fetchKeys(ctx, c, s, fetch.Config{AnswerPath: filepath.Join(tmp, "answer"), RepoDir: filepath.Join(tmp, "repo"), Child: child})
	})
}

func fetchKeys(ctx context.Context, c *config.Config, s keysrc.GitSettings, f fetch.Config) (io.ReadCloser, sync.Report) {
	failed := func(err error) sync.Report { return sync.Report{Class: sync.Internal, Text: err.Error()} }
	auth := config.Auth{TokenFile: s.TokenFile, KeyFile: s.KeyFile, HostKey: s.HostKey}
	f.Credentials = map[string]fetch.Auth{s.Name: unitCredential(config.Remote{Name: s.Name, Auth: auth})}
	f.Limits = fetchLimits(c)
	server, err := fetch.New(f)
	if err != nil {
		return nil, failed(err)
	}
	defer server.Close()
	rep := server.Serve(ctx, s.GitWant())
	if rep.Class != sync.Moved {
		return nil, rep
	}
	stream, err := os.Open(f.AnswerPath)
	if err != nil {
		return nil, failed(err)
	}
	return stream, rep
}

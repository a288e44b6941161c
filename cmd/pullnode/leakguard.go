package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"pullnode/activate"
	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/keysrc"
	"pullnode/sync"
)

// leakGuard refuses a commit that would put a private key into the store: any in
// the commit's own tree, and in what it builds those that open a secret of this
// host. Of what was built only the paths that the running system does not have
// are read.
func leakGuard(c *config.Config, sys activate.System, store activate.Store, log *slog.Logger) func(context.Context, sync.Verified, activate.Candidate) error {
	return func(ctx context.Context, _ sync.Verified, cand activate.Candidate) error {
		if len(c.Keys.Sources) == 0 {
			return nil
		}
		err := scanCandidate(ctx, c, sys, store, cand)
		var leak *keysrc.LeakError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &leak):
			return fmt.Errorf("whether private keys leak into the store %w: %w", agent.ErrLater, err)
		case c.Keys.LeakGuard == "warn":
			log.Warn("a private key leaks", "why", leak.Error())
			return nil
		}
		return err
	}
}

func scanCandidate(ctx context.Context, c *config.Config, sys activate.System, store activate.Store, cand activate.Candidate) error {
	tree, err := os.OpenRoot(string(cand.Source))
	if err != nil {
		return err
	}
	defer tree.Close()
	recipients, err := keysrc.Recipients(tree.FS(), c.HostName, c.Keys.Files)
	if err != nil {
		return err
	}
	leaks, err := (&keysrc.Scanner{SSH: true}).Tree(ctx, string(cand.Source), nil)
	if err != nil {
		return err
	}
	facts, err := sys.Facts(ctx)
	if err != nil {
		return err
	}
	paths, err := store.Requisites(ctx, cand.Out)
	if err != nil {
		return err
	}
	var old []activate.StorePath
	if facts.Running != "" {
		// A running system that the store does not know makes all paths new.
		old, _ = store.Requisites(ctx, facts.Running)
	}
	built := &keysrc.Scanner{Only: append(recipients, c.Keys.Recipient)}
	for _, p := range paths {
		if slices.Contains(old, p) || p == cand.Source {
			continue
		}
		if leaks, err = built.Tree(ctx, string(p), leaks); err != nil {
			return err
		}
	}
	if len(leaks) > 0 {
		return &keysrc.LeakError{Leaks: leaks}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"pullnode/activate"
	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/keysrc"
	"pullnode/sync"
)

// secretGuard is the preflight of a host's secrets. Without a key source it asks
// nothing: where the key of such a host comes from is its own business.
type secretGuard struct {
	config *config.Config
	sys    activate.System
	store  activate.Store
	keys   keysrc.Opener
	log    *slog.Logger
	record string // file that remembers what was scanned for leaks
}

func newSecretGuard(c *config.Config, sys activate.System, store activate.Store, keys keysrc.Opener, log *slog.Logger, dir string) secretGuard {
	return secretGuard{c, sys, store, keys, log, filepath.Join(dir, "scanned.json")}
}

// builtSecrets are the SOPS files of a candidate and where they were found.
type builtSecrets struct {
	tree  *os.Root
	paths []string // what the built system consists of
	files []keysrc.Meta
}

func (g secretGuard) check(ctx context.Context, _ sync.Verified, cand activate.Candidate) error {
	if len(g.config.Keys.Sources) == 0 {
		return nil
	}
	b, err := g.open(ctx, cand)
	if b.tree != nil {
		defer b.tree.Close()
	}
	if files := (*keysrc.PreflightError)(nil); errors.As(err, &files) {
		return err
	}
	if err != nil {
		return fmt.Errorf("whether this host's secrets open %w: %w", agent.ErrLater, err)
	}
	return g.leaks(ctx, cand, b)
}

// open refuses a SOPS file of this host that the host's key does not open: by its
// place in the commit's tree, or because sops-nix in the built system names it.
func (g secretGuard) open(ctx context.Context, cand activate.Candidate) (b builtSecrets, err error) {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	if b.tree, err = os.OpenRoot(filepath.Join(string(cand.Source), g.config.Dir)); err != nil {
		return b, err
	}
	metas, bad, err := keysrc.Files(b.tree.FS(), g.config.HostName, g.config.Keys.Files)
	if err != nil {
		return b, err
	}
	out, err := g.store.Requisites(ctx, cand.Out)
	if err != nil {
		return b, err
	}
	b.paths = texts(out)
	built, worse, err := keysrc.ManifestFiles(b.paths, metas)
	if err != nil {
		return b, err
	}
	b.files = append(metas, built...)
	return b, keysrc.Prove(ctx, g.keys, b.files, append(bad, worse...))
}

func texts(paths []activate.StorePath) (out []string) {
	for _, p := range paths {
		out = append(out, string(p))
	}
	return out
}

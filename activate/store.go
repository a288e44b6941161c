package activate

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Store puts things into the nix store by nix's own tools.
type Store struct {
	// Env is their whole environment. It says which store: on an installed host
	// NIX_REMOTE=daemon.
	Env []string
}

// Add puts a directory into the store under its own name and gives its path.
func (s Store) Add(ctx context.Context, dir string) (StorePath, error) {
	out, err := s.tool(ctx, "nix-store", "--add-fixed", "--recursive", "sha256", dir)
	if err == nil && !isStorePath(StorePath(out)) {
		err = fmt.Errorf("nix-store --add-fixed gave %.200q", out)
	}
	return StorePath(out), err
}

// NarHash gives "sha256-<base64>" of a store path.
func (s Store) NarHash(ctx context.Context, p StorePath) (string, error) {
	hash, err := s.tool(ctx, "nix-hash", "--type", "sha256", "--base32", string(p))
	if err != nil {
		return "", err
	}
	sri, err := s.tool(ctx, "nix", "--extra-experimental-features", "nix-command", "hash", "to-sri", "--type", "sha256", hash)
	if err == nil && !strings.HasPrefix(sri, "sha256-") {
		err = fmt.Errorf("nix hash gave %.200q", sri)
	}
	return sri, err
}

// Requisites gives p and everything in the store that it refers to.
func (s Store) Requisites(ctx context.Context, p StorePath) ([]StorePath, error) {
	out, err := s.tool(ctx, "nix-store", "--query", "--requisites", string(p))
	if err != nil {
		return nil, err
	}
	var all []StorePath
	for _, l := range strings.Fields(out) {
		all = append(all, StorePath(l))
	}
	return all, nil
}

func (s Store) tool(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.Env
	var errs strings.Builder
	cmd.Stderr = &errs // apart: nix warns here of settings that it does not know
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, lastLines(strings.TrimSpace(errs.String()), 3))
	}
	return strings.TrimSpace(string(out)), nil
}

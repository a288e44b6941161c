package activate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Roots is a directory below nix's gcroots that only root writes. Each link in it
// has the name of the store path that it leads to.
//
// What a job built is first rooted by a link of its own unit, which nix makes
// while no collection is under way; only then this one follows, so that no
// collection falls in between.
type Roots struct {
	Dir   string
	Store Store
}

// Hold roots a path and then sees whether it is still there: the link comes too
// late for a collection that has already begun.
func (r Roots) Hold(ctx context.Context, p StorePath) error {
	link := filepath.Join(r.Dir, filepath.Base(string(p)))
	if to, err := os.Readlink(link); err != nil || to != string(p) {
		if err := os.MkdirAll(r.Dir, 0o755); err != nil {
			return fmt.Errorf("root %s: %w", p, err)
		}
		tmp := filepath.Join(r.Dir, ".new")
		os.Remove(tmp)
		if err := errors.Join(os.Symlink(string(p), tmp), os.Rename(tmp, link)); err != nil {
			return fmt.Errorf("root %s: %w", p, err)
		}
	}
	if _, err := r.Store.tool(ctx, "nix-store", "--check-validity", string(p)); err != nil {
		return fmt.Errorf("%w: %s: %w", errCollected, p, err)
	}
	return nil
}

var errCollected = errors.New("the garbage collector was faster")

// Keep removes every root but those of the given paths, of which some may be
// empty.
func (r Roots) Keep(paths ...StorePath) error {
	keep := map[string]bool{}
	for _, p := range paths {
		if p != "" {
			keep[filepath.Base(string(p))] = true
		}
	}
	list, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range list {
		if !keep[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(r.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

package keysrc

import (
	"context"

	"pullnode/internal/registry"
)

func init() { registry.Add(&Kinds, "file", openFile) }

// fileSettings are those of the source "file".
type fileSettings struct {
	// Path of an age identity file, absolute, outside the Nix store. Only its
	// owner, root or the keys process, may have any right to it.
	Path string `json:"path"`
}

type file struct{ path string }

func openFile(s fileSettings) (Source, error) {
	path, err := checkPath(s.Path)
	if err != nil {
		return nil, err
	}
	return file{path}, nil
}

// Name is Source's.
func (f file) Name() string { return "file:" + f.path }

// Fetch is Source's.
func (f file) Fetch(ctx context.Context) (*Key, error) {
	raw, err := readPrivate(ctx, f.path, 0o077)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	return ParseKey(raw)
}

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
	// Unlock says what the file is encrypted for, if it is: see unlock.
	Unlock string `json:"unlock,omitempty"`
}

type file struct {
	path   string
	unlock unlock
}

func openFile(s fileSettings) (Source, error) {
	path, err := checkPath(s.Path)
	if err != nil {
		return nil, err
	}
	u, err := openUnlock(s.Unlock)
	if err != nil {
		return nil, err
	}
	return file{path, u}, nil
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
	return f.unlock.key(ctx, raw)
}

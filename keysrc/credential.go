package keysrc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pullnode/internal/registry"
)

func init() { registry.Add(&Kinds, "credential", openCredential) }

// credentialSettings are those of the source "credential".
type credentialSettings struct {
	// CredentialName is what the unit's LoadCredential= or
	// LoadCredentialEncrypted= calls it.
	CredentialName string `json:"name"`
}

type credential struct{ name string }

func openCredential(s credentialSettings) (Source, error) {
	switch {
	case s.CredentialName == "":
		return nil, errors.New("name: is missing")
	case strings.ContainsAny(s.CredentialName, "/:\x00") || s.CredentialName == "." || s.CredentialName == "..":
		return nil, fmt.Errorf("name: %q is not the name of a credential", s.CredentialName)
	}
	return credential{s.CredentialName}, nil
}

// Name is Source's.
func (c credential) Name() string { return "credential:" + c.name }

// Fetch is Source's.
func (c credential) Fetch(ctx context.Context) (*Key, error) {
	raw, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	return ParseKey(raw)
}

// read gives the credential. The directory is systemd's, given to this unit
// alone.
func (c credential) read(ctx context.Context) ([]byte, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, fmt.Errorf("%w: systemd passed no credentials to this process", ErrAbsent)
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("$CREDENTIALS_DIRECTORY is %q, want an absolute path", dir)
	}
	// systemd lets a unit's user in by an ACL, whose mask stat shows as the
	// group's read bit; that bit says nothing about a group here.
	return readPrivate(ctx, filepath.Join(dir, c.name), 0o037)
}

package keysrc

import (
	"context"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/registry"
)

const defaultHostKey = "/etc/ssh/ssh_host_ed25519_key"

func init() { registry.Add(&Kinds, "ssh-host-key", openSSHHostKey) }

// sshHostKeySettings are those of the source "ssh-host-key".
type sshHostKeySettings struct {
	// Path of the ed25519 host key; empty is /etc/ssh/ssh_host_ed25519_key.
	Path string `json:"path"`
}

type sshHostKey struct{ path string }

func openSSHHostKey(s sshHostKeySettings) (Source, error) {
	if s.Path == "" {
		s.Path = defaultHostKey
	}
	path, err := checkPath(s.Path)
	if err != nil {
		return nil, err
	}
	return sshHostKey{path}, nil
}

// Name is Source's.
func (h sshHostKey) Name() string { return "ssh-host-key:" + h.path }

// Fetch is Source's.
func (h sshHostKey) Fetch(ctx context.Context) (*Key, error) {
	pem, err := readPrivate(ctx, h.path, 0o077)
	if err != nil {
		return nil, err
	}
	defer clear(pem)
	// x/crypto's errors about a private key may hold parts of it, so only their
	// kind is passed on.
	parsed, err := ssh.ParseRawPrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, errors.New("has a passphrase, which nobody can type here")
	case err != nil:
		return nil, errors.New("is not an OpenSSH private key")
	}
	key, ok := parsed.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("is a %T, only an ed25519 host key has an age identity", parsed)
	}
	defer clear(*key)
	return sshToAge(*key)
}

// sshToAge gives the X25519 identity that ssh-to-age derives, so that secrets
// encrypted for a host by that tool open. RFC 8032 section 5.1.5 makes the
// ed25519 scalar from the first half of SHA-512 of the seed; the same scalar on
// the Montgomery form of the curve is the X25519 key. It is written as it comes
// out of the hash, as ssh-to-age does: X25519 clamps it at every use (RFC 7748
// section 5), so clamping here would change the text and not the key.
func sshToAge(key ed25519.PrivateKey) (*Key, error) {
	h := sha512.Sum512(key.Seed())
	defer clear(h[:])
	text := encodeIdentity(h[:32])
	defer clear(text)
	return ParseKey(text)
}

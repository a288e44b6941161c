package keysrc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/durable"
)

// Add puts a host's rule and identity into the directory, the identity sealed
// where Unlock says for what. A host that is there already is an error, as its
// identity may be the only copy.
func (s *KeyServer) Add(ctx context.Context, host string, rule HostRule, identity []byte) (recipients []string, err error) {
	if !plainName(host) {
		return nil, fmt.Errorf("%q is no host name", clip(host))
	}
	if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(rule.SSHKey)); err != nil {
		return nil, errors.New("the SSH host key is no public key (ssh-ed25519 AAAA...)")
	}
	if recipients, err = publicHalves(identity); err != nil {
		return nil, err
	}
	stored, err := s.sealed(ctx, identity)
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(rule, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.Dir, "hosts"), 0o700); err != nil {
		return nil, err
	}
	// The identity last: without the rule nobody gets it.
	for _, f := range []struct {
		ext     string
		content []byte
	}{{".json", append(raw, '\n')}, {".age", stored}} {
		if err := durable.CreateExclusive(s.file(host, f.ext), f.content, 0o600); err != nil {
			return nil, err
		}
	}
	return recipients, nil
}

func (s *KeyServer) sealed(ctx context.Context, identity []byte) ([]byte, error) {
	u, err := openUnlock(s.Unlock)
	if err != nil || u.with == nil {
		return identity, err
	}
	k, err := u.with.Fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.with.Name(), err)
	}
	defer k.Wipe()
	to, err := age.ParseRecipients(bytes.NewReader([]byte(k.Recipient())))
	if err != nil {
		return nil, err
	}
	return sealFor(func(w io.Writer) error { _, err := w.Write(identity); return err }, to...)
}

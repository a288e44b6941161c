package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// newHostKey is where the host's SSH key is on the new root.
const newHostKey = "etc/ssh/ssh_host_ed25519_key"

// stage gathers what the new root gets beside the system.
func (i *installer) stage() error {
	i.staging = filepath.Join(i.work, "root")
	if i.extra != "" {
		if err := os.CopyFS(i.staging, os.DirFS(i.extra)); err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
		// CopyFS gives every file all rights of its own user's; keep the modes.
		err := filepath.WalkDir(i.extra, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(i.extra, path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			return os.Chmod(filepath.Join(i.staging, rel), info.Mode().Perm())
		})
		if err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
	}
	key := filepath.Join(i.staging, newHostKey)
	if err := makeDirs(i.staging, filepath.Dir(newHostKey)); err != nil {
		return err
	}
	if _, err := os.Stat(key); err == nil {
		return nil
	}
	raw, err := os.ReadFile(i.hostKey)
	if i.hostKey == "" {
		i.generated = true
		raw, err = makeHostKey(i.Host)
	}
	if err != nil {
		return err
	}
	parsed, err := ssh.ParseRawPrivateKey(raw)
	if err != nil {
		return fmt.Errorf("--host-key %s: not an OpenSSH private key without a passphrase", i.hostKey)
	}
	signer, err := ssh.NewSignerFromKey(parsed)
	if err != nil {
		return err
	}
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		return err
	}
	return os.WriteFile(key+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644)
}

// makeDirs makes directories below root that everybody may enter, whatever the
// umask: what lies there goes over a new system with its modes.
func makeDirs(root, path string) error {
	at := root
	for _, name := range append([]string{"."}, strings.Split(strings.Trim(path, "/"), "/")...) {
		at = filepath.Join(at, name)
		switch err := os.Mkdir(at, 0o755); {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return err
		}
		if err := os.Chmod(at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func makeHostKey(host string) ([]byte, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, host)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

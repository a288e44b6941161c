package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// newHostKey is where the host's SSH key is on the new root.
const newHostKey = "etc/ssh/ssh_host_ed25519_key"

// hostKeyPair is an SSH host key as sshd reads it, and its public half.
type hostKeyPair struct {
	private []byte
	public  ssh.PublicKey
}

// readHostKey reads the host key of a file, which must be an ed25519 key without a
// passphrase, in OpenSSH's format: sshd would have nobody to ask, and the identity of
// the key source ssh-host-key is derived from such a key. The empty name makes a key
// with this comment.
func readHostKey(file, comment string) (k hostKeyPair, err error) {
	if file == "" {
		k.private, err = makeHostKey(comment)
	} else {
		k.private, err = os.ReadFile(file)
	}
	if err != nil {
		return k, err
	}
	signer, err := ssh.ParsePrivateKey(k.private)
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return k, fmt.Errorf("the host key %s is not an ed25519 private key without a passphrase", file)
	}
	k.public = signer.PublicKey()
	return k, nil
}

// write puts both halves below a root, where sshd looks for them.
func (k hostKeyPair) write(root string) error {
	if err := makeDirs(root, filepath.Dir(newHostKey)); err != nil {
		return err
	}
	key := filepath.Join(root, newHostKey)
	// A key that others may read is refused by sshd.
	for file, mode := range map[string]os.FileMode{key: 0o600, key + ".pub": 0o644} {
		raw := k.private
		if file != key {
			raw = ssh.MarshalAuthorizedKey(k.public)
		}
		if err := os.WriteFile(file, raw, mode); err != nil {
			return err
		}
		if err := os.Chmod(file, mode); err != nil {
			return err
		}
	}
	return nil
}

func makeHostKey(comment string) ([]byte, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

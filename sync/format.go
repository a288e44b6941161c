package sync

import (
	"errors"
	"fmt"
)

// errNoKey says that the key which made a signature, named in the Signature beside
// it, is not among those that were given to check it with.
var errNoKey = errors.New("the key of the signature is not listed")

// Signature is what a good signature proves: the holder of this key signed
// these bytes. Whether the key has any authority is the policy's to say.
type Signature struct {
	Format      string // "ssh" or "openpgp"
	Fingerprint string // of the public key that verified: "SHA256:…" or "openpgp4fpr:…"
	KeyType     string // such as "ssh-ed25519"
}

// Format is one kind of commit signature. Each is one file that adds itself.
type Format interface {
	// Match says whether the armored signature is of this format. No two
	// formats may match the same text.
	Match(armored string) bool
	// Verify checks the signature over payload with the key that it carries, or
	// where it carries none with those of keys. Any error means that the
	// signature proves nothing; errNoKey that its key is not there.
	Verify(payload []byte, armored string, keys *Signers) (Signature, error)
}

var formats = map[string]Format{}

func registerFormat(name string, f Format) struct{} {
	formats[name] = f
	return struct{}{}
}

var errUnsigned = errors.New("commit is not signed")

func (c *Commit) verify(keys *Signers) (Signature, error) {
	if !c.Signed() {
		return Signature{}, errUnsigned
	}
	for name, f := range formats {
		if f.Match(c.signature) {
			s, err := f.Verify(c.payload, c.signature, keys)
			s.Format = name
			return s, err
		}
	}
	return Signature{}, fmt.Errorf("signature of an unknown kind %.40q (SSH and OpenPGP are supported)", c.signature)
}

package sync

import (
	"errors"
	"fmt"
)

// Signature is what a good signature proves: the holder of this key signed
// these bytes. Whether the key has any authority is the policy's to say.
type Signature struct {
	Format      string // "ssh"
	Fingerprint string // "SHA256:…" of the public key that verified
	KeyType     string // "ssh-ed25519"
}

// Format is one kind of commit signature. Each is one file that adds itself.
type Format interface {
	// Match says whether the armored signature is of this format. No two
	// formats may match the same text.
	Match(armored string) bool
	// Verify checks the signature over payload with the key that it carries.
	// Any error means that the signature proves nothing.
	Verify(payload []byte, armored string) (Signature, error)
}

var formats = map[string]Format{}

func registerFormat(name string, f Format) struct{} {
	formats[name] = f
	return struct{}{}
}

var errUnsigned = errors.New("commit is not signed")

func (c *Commit) verify() (Signature, error) {
	if !c.Signed() {
		return Signature{}, errUnsigned
	}
	for name, f := range formats {
		if f.Match(c.signature) {
			s, err := f.Verify(c.payload, c.signature)
			s.Format = name
			return s, err
		}
	}
	return Signature{}, fmt.Errorf("signature of an unknown kind %.40q (SSH is supported)", c.signature)
}

package sync

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Signers is a parsed .pullnode/allowed_signers: which key belongs to whom.
type Signers struct {
	byKey map[string]string // fingerprint -> principal
	order []string          // "principal SHA256:…", as in the file
	certs map[string]*cert  // OpenPGP certificates, by the same fingerprint
}

// SignersPath is where a repository keeps its signers, PolicyDir the directory
// that only its admins may change.
const (
	PolicyDir   = ".pullnode"
	SignersPath = PolicyDir + "/allowed_signers"
	maxPolicy   = 64 << 10
)

// ParseSigners reads the documented subset of OpenSSH's allowed_signers: one
// plain principal, an optional namespaces="git", one key. Instead of key type and
// key a line may have openpgp4fpr: and the fingerprint of an OpenPGP certificate,
// which is then looked for in .pullnode/keys. What would weaken it
// or could be read in two ways (patterns, cert-authority, valid-after and
// valid-before, unknown options) is an error that names the line.
//
// Format: ssh-keygen(1), ALLOWED SIGNERS.
func ParseSigners(raw []byte) (*Signers, error) {
	if len(raw) > maxPolicy {
		return nil, fmt.Errorf("%s is %d bytes, at most %d are read", SignersPath, len(raw), maxPolicy)
	}
	s := &Signers{byKey: map[string]string{}}
	for i, line := range strings.Split(string(raw), "\n") {
		f, err := words(line, "")
		if err == nil && len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			err = s.add(f)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", SignersPath, i+1, err)
		}
	}
	if len(s.byKey) == 0 {
		return nil, fmt.Errorf("%s names no signer", SignersPath)
	}
	return s, nil
}

func (s *Signers) add(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("want a principal, a key type and a key")
	}
	who, f := f[0], f[1:]
	if strings.ContainsAny(who, `*?!,"`) {
		return fmt.Errorf("principal %q: patterns and lists are not accepted, write one plain name a line", who)
	}
	if strings.HasPrefix(who, "@") {
		return fmt.Errorf("principal %q: with @ before it a name stands for a group", who)
	}
	if strings.HasPrefix(f[len(f)-1], pgpPrefix) && (len(f) == 1 || len(f) == 2 && f[0] == `namespaces="git"`) {
		fp, err := parsePGPFingerprint(f[len(f)-1])
		if err != nil {
			return fmt.Errorf("the key of %q: %w", who, err)
		}
		return s.list(who, fp)
	}
	if !isKeyType(f[0]) {
		if f[0] != `namespaces="git"` {
			return fmt.Errorf(`option %q is not accepted (only namespaces="git" is)`, f[0])
		}
		f = f[1:]
	}
	if len(f) < 2 || !isKeyType(f[0]) {
		return fmt.Errorf("want a key type and a key after the principal %q", who)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(f[1])
	if err != nil {
		return fmt.Errorf("the key of %q is not base64", who)
	}
	key, err := ssh.ParsePublicKey(raw)
	if err != nil || key.Type() != f[0] || !bytes.Equal(key.Marshal(), raw) {
		return fmt.Errorf("the key of %q is malformed or not of the type %q", who, f[0])
	}
	if n := rsaBits(key); key.Type() == ssh.KeyAlgoRSA && n < minRSA {
		return fmt.Errorf("the rsa key of %q has %d bits, at least %d are wanted", who, n, minRSA)
	}
	return s.list(who, ssh.FingerprintSHA256(key))
}

func (s *Signers) list(who, fp string) error {
	if other, ok := s.byKey[fp]; ok && other != who {
		return fmt.Errorf("%q and %q have the same key", other, who)
	}
	s.byKey[fp] = who
	s.order = append(s.order, who+" "+fp)
	return nil
}

// isKeyType lists the accepted types; everything else is read as an option and
// refused by that name.
func isKeyType(s string) bool {
	switch s {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoRSA:
		return true
	}
	return false
}

// Who gives the principal that the key with this fingerprint belongs to.
func (s *Signers) Who(fingerprint string) (string, bool) {
	who, ok := s.byKey[fingerprint]
	return who, ok
}

// principals gives every name, once.
func (s *Signers) principals() []string {
	return slices.Compact(slices.Sorted(maps.Values(s.byKey)))
}

// List gives "principal SHA256:…" for every key, in the order of the file.
func (s *Signers) List() []string { return s.order }

// KeyFingerprint gives the fingerprint of a public key as it stands in
// authorized_keys: type, key, and perhaps a comment.
func KeyFingerprint(authorized string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(authorized))
	if err != nil {
		return "", fmt.Errorf("%.60q is no SSH public key", authorized)
	}
	return ssh.FingerprintSHA256(key), nil
}

package sync

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/ssh"
)

var _ = registerFormat("ssh", sshFormat{})

// sshFormat verifies SSHSIG signatures as git makes them with gpg.format=ssh.
//
// Source: OpenSSH PROTOCOL.sshsig. Only what ssh-keygen itself writes is
// accepted, byte for byte, so that a signature has one encoding.
type sshFormat struct{}

const (
	sshBegin = "-----BEGIN SSH SIGNATURE-----\n"
	sshEnd   = "-----END SSH SIGNATURE-----\n"
	sshMagic = "SSHSIG"
	sshNS    = "git"
	minRSA   = 3072
)

func (sshFormat) Match(s string) bool { return strings.HasPrefix(s, sshBegin) }

// sshBlob is the part of an SSHSIG after the magic.
type sshBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

func (sshFormat) Verify(payload []byte, armored string, _ *Signers) (Signature, error) {
	raw, err := dearmor(armored)
	if err != nil {
		return Signature{}, err
	}
	rest, ok := bytes.CutPrefix(raw, []byte(sshMagic))
	if !ok {
		return Signature{}, errors.New("ssh signature has no SSHSIG magic")
	}
	var b sshBlob
	if err := ssh.Unmarshal(rest, &b); err != nil || !bytes.Equal(ssh.Marshal(b), rest) {
		return Signature{}, errors.New("ssh signature is malformed")
	}
	switch {
	case b.Version != 1:
		return Signature{}, fmt.Errorf("ssh signature has version %d, want 1", b.Version)
	case b.Namespace != sshNS:
		return Signature{}, fmt.Errorf("ssh signature is for the namespace %.40q, want %q", b.Namespace, sshNS)
	case b.Reserved != "":
		return Signature{}, errors.New("ssh signature has bytes in its reserved field")
	}
	key, err := ssh.ParsePublicKey(b.PublicKey)
	if err != nil || !bytes.Equal(key.Marshal(), b.PublicKey) {
		return Signature{}, errors.New("ssh signature carries a malformed public key")
	}
	var digest []byte
	switch b.Hash {
	case "sha512":
		s := sha512.Sum512(payload)
		digest = s[:]
	case "sha256":
		s := sha256.Sum256(payload)
		digest = s[:]
	default:
		return Signature{}, fmt.Errorf("ssh signature uses the hash %.20q, want sha512 or sha256", b.Hash)
	}
	signed := append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{b.Namespace, b.Reserved, b.Hash, digest})...)
	sig, err := parseSSHSignature(key, b.Signature)
	if err != nil {
		return Signature{}, err
	}
	if err := key.Verify(signed, sig); err != nil {
		return Signature{}, errors.New("ssh signature does not match the commit")
	}
	return Signature{Fingerprint: ssh.FingerprintSHA256(key), KeyType: key.Type()}, nil
}

// dearmor undoes ssh-keygen's armor and makes sure that armoring again gives
// the same text.
func dearmor(armored string) ([]byte, error) {
	body, ok := strings.CutPrefix(armored, sshBegin)
	if ok {
		body, ok = strings.CutSuffix(body, sshEnd)
	}
	if !ok {
		return nil, errors.New("ssh signature has text around its armor")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil {
		return nil, errors.New("ssh signature is not base64")
	}
	enc := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	for len(enc) > 70 {
		b.WriteString(enc[:70] + "\n")
		enc = enc[70:]
	}
	if b.WriteString(enc + "\n"); b.String() != body {
		return nil, errors.New("ssh signature is not armored as ssh-keygen does it")
	}
	return raw, nil
}

// parseSSHSignature reads the inner signature and refuses algorithms and
// encodings that are not on the list.
func parseSSHSignature(key ssh.PublicKey, raw []byte) (*ssh.Signature, error) {
	var sig ssh.Signature
	if err := ssh.Unmarshal(raw, &sig); err != nil {
		return nil, errors.New("ssh signature is malformed")
	}
	bad := errors.New("ssh signature has trailing bytes or another algorithm than its key")
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		if sig.Format != key.Type() || len(sig.Rest) != 0 || len(sig.Blob) != 64 {
			return nil, bad
		}
	case ssh.KeyAlgoSKED25519:
		if sig.Format != key.Type() || len(sig.Rest) != 5 || len(sig.Blob) != 64 {
			return nil, bad
		}
		if sig.Rest[0]&1 == 0 {
			return nil, errors.New("security key signed without a touch")
		}
	case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384:
		var rs struct{ R, S *big.Int }
		if sig.Format != key.Type() || len(sig.Rest) != 0 ||
			ssh.Unmarshal(sig.Blob, &rs) != nil || !bytes.Equal(ssh.Marshal(rs), sig.Blob) {
			return nil, bad
		}
	case ssh.KeyAlgoRSA:
		if (sig.Format != ssh.KeyAlgoRSASHA256 && sig.Format != ssh.KeyAlgoRSASHA512) || len(sig.Rest) != 0 {
			return nil, bad
		}
		if n := rsaBits(key); n < minRSA {
			return nil, fmt.Errorf("rsa key has %d bits, at least %d are wanted", n, minRSA)
		}
	default:
		return nil, fmt.Errorf("key type %.40q is not accepted (ed25519, sk-ed25519, ecdsa p256 and p384, rsa)", key.Type())
	}
	return &sig, nil
}

func rsaBits(key ssh.PublicKey) int {
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
			return k.N.BitLen()
		}
	}
	return 0
}

package sync

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var _ = registerFormat("openpgp", pgpFormat{})

// pgpFormat verifies detached OpenPGP signatures as git makes them with gpg. The
// key is not in the signature, so it must be one of the listed certificates.
// Only allowed_signers gives authority: dates and expiry, which whoever signs can
// choose, mean nothing, and no web of trust is asked.
//
// Source: RFC 9580; RFC 4880 for version 4.
type pgpFormat struct{}

const (
	pgpPrefix = "openpgp4fpr:"
	pgpKeyID  = "openpgp key " // of a signature that names no more of its key
	pgpBegin  = "-----BEGIN PGP SIGNATURE-----\n"
	pgpEnd    = "-----END PGP SIGNATURE-----\n"
)

// cert is a listed certificate: its keys that may sign, by their own fingerprint.
type cert struct{ keys map[string]*packet.PublicKey }

func parsePGPFingerprint(s string) (string, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(s, pgpPrefix))
	if err != nil || len(raw) != 20 {
		return "", errors.New("want openpgp4fpr: and 40 hexadecimal digits, as gpg --fingerprint prints them")
	}
	return pgpFingerprint(raw), nil
}

func pgpFingerprint(raw []byte) string { return pgpPrefix + strings.ToUpper(hex.EncodeToString(raw)) }

// certificates reads the certificates of the listed OpenPGP keys.
func (s *Signers) certificates(files map[string][]byte) error {
	s.certs = map[string]*cert{}
	for path, raw := range files {
		if !strings.HasPrefix(path, KeysDir+"/") {
			continue
		}
		list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(raw))
		if err != nil {
			return fmt.Errorf("%s is no OpenPGP certificate: %w", path, err)
		}
		for _, e := range list {
			if e.PrivateKey != nil {
				return fmt.Errorf("%s has a private key; take it out of the repository and of use", path)
			}
			fp := pgpFingerprint(e.PrimaryKey.Fingerprint)
			if _, listed := s.byKey[fp]; !listed {
				continue
			}
			c, err := newCert(e)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			s.certs[fp] = c
		}
	}
	for fp, who := range s.byKey {
		if strings.HasPrefix(fp, pgpPrefix) && s.certs[fp] == nil {
			return fmt.Errorf("the certificate of %q (%s) is not in %s", who, fp, KeysDir)
		}
	}
	return nil
}

func newCert(e *openpgp.Entity) (*cert, error) {
	if len(e.Revocations) > 0 {
		return nil, fmt.Errorf("the certificate %s is revoked", pgpFingerprint(e.PrimaryKey.Fingerprint))
	}
	c := &cert{keys: map[string]*packet.PublicKey{}}
	add := func(k *packet.PublicKey) {
		if pgpStrong(k) == nil {
			c.keys[pgpFingerprint(k.Fingerprint)] = k
		}
	}
	if self, _ := e.PrimarySelfSignature(); self == nil || !self.FlagsValid || self.FlagSign {
		add(e.PrimaryKey)
	}
	for _, sub := range e.Subkeys {
		// The library has checked the binding, both ways for a key that signs.
		if len(sub.Revocations) == 0 && sub.Sig != nil && sub.Sig.FlagsValid && sub.Sig.FlagSign {
			add(sub.PublicKey)
		}
	}
	if len(c.keys) == 0 {
		return nil, fmt.Errorf("the certificate %s has no key that may sign and is accepted (ed25519, or rsa with %d bits)", pgpFingerprint(e.PrimaryKey.Fingerprint), minRSA)
	}
	return c, nil
}

func pgpStrong(k *packet.PublicKey) error {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519:
		return nil
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if n, err := k.BitLength(); err != nil || n < minRSA {
			return fmt.Errorf("rsa key has %d bits, at least %d are wanted", n, minRSA)
		}
		return nil
	}
	return errors.New("openpgp key is of a kind that is not accepted (ed25519 and rsa are)")
}

func (pgpFormat) Match(s string) bool { return strings.HasPrefix(s, pgpBegin) }

func (pgpFormat) Verify(payload []byte, armored string, keys *Signers) (Signature, error) {
	sig, raw, err := pgpSignature(armored)
	if err != nil {
		return Signature{}, err
	}
	made := pgpFingerprint(sig.IssuerFingerprint)
	if len(sig.IssuerFingerprint) == 0 && sig.IssuerKeyId != nil {
		return Signature{Fingerprint: fmt.Sprintf(pgpKeyID+"%016X", *sig.IssuerKeyId)}, errNoKey // an id is no proof
	}
	if keys == nil {
		return Signature{Fingerprint: made}, errNoKey
	}
	for primary, c := range keys.certs {
		k, ok := c.keys[made]
		if !ok {
			continue
		}
		if err := canonicalPGP(armored, raw); err != nil {
			return Signature{}, err
		}
		h, err := sig.PrepareVerify()
		if err != nil {
			return Signature{}, fmt.Errorf("openpgp signature: %w", err)
		}
		h.Write(payload)
		if err := k.VerifySignature(h, sig); err != nil {
			return Signature{}, errors.New("openpgp signature does not match the commit")
		}
		return Signature{Fingerprint: primary, KeyType: "openpgp"}, nil
	}
	return Signature{Fingerprint: made}, errNoKey
}

// pgpSignature reads one signature of a document, and nothing beside it.
func pgpSignature(armored string) (*packet.Signature, []byte, error) {
	block, err := armor.Decode(strings.NewReader(armored))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, nil, errors.New("openpgp signature is not armored as gpg does it")
	}
	raw, err := io.ReadAll(io.LimitReader(block.Body, maxCommit))
	if err != nil {
		return nil, nil, errors.New("openpgp signature is not armored as gpg does it")
	}
	in := bytes.NewReader(raw)
	p, err := packet.Read(in)
	sig, ok := p.(*packet.Signature)
	switch {
	case err != nil || !ok:
		return nil, nil, errors.New("openpgp signature is malformed")
	case in.Len() != 0:
		return nil, nil, errors.New("openpgp signature has bytes after it")
	case sig.SigType != packet.SigTypeBinary:
		return nil, nil, errors.New("openpgp signature is not one of a document")
	case sig.Hash != crypto.SHA256 && sig.Hash != crypto.SHA384 && sig.Hash != crypto.SHA512:
		return nil, nil, errors.New("openpgp signature uses a hash that is not accepted (sha256, sha384 and sha512 are)")
	case len(sig.IssuerFingerprint) == 0 && sig.IssuerKeyId == nil:
		return nil, nil, errors.New("openpgp signature does not name its key")
	}
	return sig, raw, nil
}

// canonicalPGP makes sure that armoring again gives the same text: no headers
// but none, lines of 64, the checksum.
func canonicalPGP(armored string, raw []byte) error {
	enc := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.WriteString(pgpBegin + "\n")
	for len(enc) > 64 {
		b.WriteString(enc[:64] + "\n")
		enc = enc[64:]
	}
	b.WriteString(enc + "\n=" + crc24(raw) + "\n" + pgpEnd)
	if b.String() != armored && strings.Replace(b.String(), "\n="+crc24(raw), "", 1) != armored {
		return errors.New("openpgp signature is not armored as gpg does it")
	}
	return nil
}

// crc24 is the armor's checksum in base64, RFC 4880 section 6.1.
func crc24(raw []byte) string {
	crc := uint32(0xb704ce)
	for _, x := range raw {
		crc ^= uint32(x) << 16
		for range 8 {
			if crc <<= 1; crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return base64.StdEncoding.EncodeToString([]byte{byte(crc >> 16), byte(crc >> 8), byte(crc)})
}

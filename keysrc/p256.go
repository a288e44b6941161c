package keysrc

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
	"filippo.io/hpke"
	"golang.org/x/crypto/chacha20poly1305"
)

// The two stanzas that age clients make for a P-256 key in a device: age's own
// for "age1tag1..." (C2SP age, p256tag) and age-plugin-yubikey's for
// "age1yubikey1...". Both need one key exchange with the device.
const (
	stanzaTag  = "p256tag"
	stanzaPIV  = "piv-p256"
	labelTag   = "age-encryption.org/p256tag"
	fileKeyMax = 64 // longer bodies are no wrapped file key
)

// p256Identity is an age identity whose private key stays in its device.
type p256Identity struct {
	public *ecdh.PublicKey
	// exchange has the device do ECDH. Its errors are passed on as they are.
	exchange func(remote *ecdh.PublicKey) ([]byte, error)
	piv      bool // also opens stanzaPIV
}

// p256Recipient gives the public half as age clients take it, "age1tag1...".
func p256Recipient(public *ecdh.PublicKey) (*tag.Recipient, error) {
	return tag.NewClassicRecipient(compress(public))
}

func compress(public *ecdh.PublicKey) []byte {
	b := public.Bytes() // 4, X, Y
	return append([]byte{2 | b[64]&1}, b[1:33]...)
}

func decompress(point []byte) (*ecdh.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), point)
	if x == nil {
		return nil, errors.New("is not a point on P-256")
	}
	raw := append([]byte{4}, make([]byte, 64)...)
	x.FillBytes(raw[1:33])
	y.FillBytes(raw[33:])
	return ecdh.P256().NewPublicKey(raw)
}

// Unwrap is age.Identity's. A stanza whose tag names this key and that does not
// open is an error; others are passed over without asking the device.
func (i *p256Identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		var fileKey []byte
		err := age.ErrIncorrectIdentity
		switch {
		case s.Type == stanzaTag:
			fileKey, err = i.openTag(s)
		case s.Type == stanzaPIV && i.piv:
			fileKey, err = i.openPIV(s)
		}
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return fileKey, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// stanzaArgs checks the form of a stanza that both kinds share: a tag of four
// bytes, a point and a wrapped file key.
func stanzaArgs(s *age.Stanza) (tag, point []byte, err error) {
	if len(s.Args) == 2 && len(s.Body) <= fileKeyMax {
		strict := base64.RawStdEncoding.Strict()
		var tagErr, pointErr error
		tag, tagErr = strict.DecodeString(s.Args[0])
		point, pointErr = strict.DecodeString(s.Args[1])
		if tagErr == nil && pointErr == nil && len(tag) == 4 {
			return tag, point, nil
		}
	}
	return nil, nil, fmt.Errorf("malformed %s stanza", s.Type)
}

func (i *p256Identity) openTag(s *age.Stanza) ([]byte, error) {
	got, enc, err := stanzaArgs(s)
	if err != nil {
		return nil, err
	}
	r, err := p256Recipient(i.public)
	if err != nil {
		return nil, err
	}
	want, err := r.Tag(enc)
	if err != nil {
		return nil, fmt.Errorf("malformed %s stanza: %w", s.Type, err)
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return nil, age.ErrIncorrectIdentity
	}
	device := &exchanger{id: i}
	private, err := hpke.NewDHKEMPrivateKey(device)
	if err != nil {
		return nil, err
	}
	opener, err := hpke.NewRecipient(enc, private, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(labelTag))
	if device.err != nil {
		return nil, device.err
	}
	if err != nil {
		return nil, fmt.Errorf("malformed %s stanza: %w", s.Type, err)
	}
	fileKey, err := opener.Open(nil, s.Body)
	if err != nil {
		return nil, fmt.Errorf("%s stanza for this key does not open: %w", s.Type, err)
	}
	return fileKey, nil
}

// openPIV follows age-plugin-yubikey: the tag is of the recipient alone, and
// the file key is sealed with ChaCha20-Poly1305 under HKDF of the shared point.
func (i *p256Identity) openPIV(s *age.Stanza) ([]byte, error) {
	got, point, err := stanzaArgs(s)
	if err != nil {
		return nil, err
	}
	own := compress(i.public)
	sum := sha256.Sum256(own)
	if subtle.ConstantTimeCompare(got, sum[:4]) != 1 {
		return nil, age.ErrIncorrectIdentity
	}
	remote, err := decompress(point)
	if err != nil {
		return nil, fmt.Errorf("malformed %s stanza: its ephemeral key %w", s.Type, err)
	}
	shared, err := i.exchange(remote)
	if err != nil {
		return nil, err
	}
	defer clear(shared)
	salt := append(append([]byte{}, point...), own...)
	key, err := hkdf.Key(sha256.New, shared, salt, stanzaPIV, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, err
	}
	fileKey, err := aead.Open(nil, make([]byte, aead.NonceSize()), s.Body, nil)
	if err != nil {
		return nil, fmt.Errorf("%s stanza for this key does not open: %w", s.Type, err)
	}
	return fileKey, nil
}

// exchanger is ecdh.KeyExchanger for hpke, and keeps the device's error whole.
type exchanger struct {
	id  *p256Identity
	err error
}

func (e *exchanger) PublicKey() *ecdh.PublicKey { return e.id.public }
func (e *exchanger) Curve() ecdh.Curve          { return ecdh.P256() }
func (e *exchanger) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	var shared []byte
	shared, e.err = e.id.exchange(remote)
	return shared, e.err
}

// parseRecipient gives one age recipient as Key.Recipients writes it. That of
// age-plugin-yubikey ("age1yubikey1...") becomes age's own form of the same key.
func parseRecipient(s string) (string, error) {
	name, point, err := plugin.ParseRecipient(s)
	switch {
	case err == nil && name == "yubikey":
		r, err := tag.NewClassicRecipient(point)
		return fmt.Sprint(r), err
	case err == nil && name == "tag":
		r, err := tag.ParseRecipient(s)
		return fmt.Sprint(r), err
	}
	got, err := age.ParseRecipients(strings.NewReader(s))
	if err == nil && len(got) != 1 {
		err = errors.New("more than one recipient")
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprint(got[0]), nil
}

// deviceKey makes the Key of an identity that stays in its device.
func deviceKey(id *p256Identity) (*Key, error) {
	r, err := p256Recipient(id.public)
	if err != nil {
		return nil, err
	}
	return newKey(&keyring{device: []age.Identity{id}, recipients: []string{r.String()}}), nil
}

package keysrc_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"filippo.io/age/tag"
	"golang.org/x/crypto/chacha20poly1305"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

const (
	cardPIN    = "271828"
	cardSerial = 11223344
)

func newCard(t *testing.T, serial uint32) *keysrctest.PIVCard {
	t.Helper()
	return &keysrctest.PIVCard{Serial: serial, PIN: cardPIN, Tries: 3, Slots: map[byte]*keysrctest.PIVSlot{0x82: newSlot(t)}}
}

func newSlot(t *testing.T) *keysrctest.PIVSlot {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &keysrctest.PIVSlot{Key: key, PINPolicy: 2, TouchPolicy: 1}
}

func compressed(p *ecdh.PublicKey) []byte {
	b := p.Bytes()
	return append([]byte{2 + b[64]%2}, b[1:33]...)
}

func tagOf(t *testing.T, s *keysrctest.PIVSlot) string {
	t.Helper()
	r, err := tag.NewClassicRecipient(compressed(s.Key.PublicKey()))
	if err != nil {
		t.Fatal(err)
	}
	return r.String()
}

// yubiKeyRig is a source with its card in a reader.
type yubiKeyRig struct {
	readers  *keysrctest.Readers
	card     *keysrctest.PIVCard
	pinFile  string
	settings map[string]any
}

func newYubiKey(t *testing.T) *yubiKeyRig {
	t.Helper()
	r := &yubiKeyRig{readers: keysrctest.StartReaders(t), card: newCard(t, cardSerial), pinFile: filepath.Join(t.TempDir(), "pin")}
	write(t, r.pinFile, []byte(cardPIN+"\n"), 0o400)
	r.settings = map[string]any{"type": "yubikey", "serial": cardSerial, "slot": "82", "pinFile": r.pinFile, "socket": r.readers.Socket}
	r.readers.Insert(t, 0, r.card)
	return r
}

func (r *yubiKeyRig) fetch(t *testing.T) (*keysrc.Key, error) {
	t.Helper()
	return open(t, r.settings).Fetch(t.Context())
}

func TestYubiKey(t *testing.T) {
	r := newYubiKey(t)
	slot := r.card.Slots[0x82]
	good := slot.Describe()
	in := true
	put := func(t *testing.T, content []byte) {
		r.card.Lock(func() { slot.Metadata = content })
		if !in {
			r.readers.Insert(t, 0, r.card)
			in = true
		}
	}
	keysrctest.Run(t, keysrctest.Case{
		Open: func(t *testing.T) keysrc.Source {
			put(t, good)
			return open(t, r.settings)
		},
		Remove:  func(t *testing.T) { r.readers.Remove(t, 0); in = false },
		Put:     put,
		Content: good, Recipient: tagOf(t, slot), Secrets: []string{string(slot.Key.Bytes()), cardPIN},
	})
}

// pivP256 encrypts as age-plugin-yubikey does.
type pivP256 struct{ to *ecdh.PublicKey }

func (r pivP256) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	shared, err := own.ECDH(r.to)
	if err != nil {
		return nil, err
	}
	point := compressed(own.PublicKey())
	key, err := hkdf.Key(sha256.New, shared, append(bytes.Clone(point), compressed(r.to)...), "piv-p256", 32)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(compressed(r.to))
	text := base64.RawStdEncoding.EncodeToString
	return []*age.Stanza{{Type: "piv-p256", Args: []string{text(sum[:4]), text(point)}, Body: aead.Seal(nil, make([]byte, 12), fileKey, nil)}}, nil
}

func encryptTo(t *testing.T, to ...age.Recipient) []byte {
	t.Helper()
	return encryptText(t, "for this host", to...)
}

func encryptText(t *testing.T, text string, to ...age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openFor(t *testing.T, file []byte, k *keysrc.Key) error {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(file), k.Identities()...)
	if err != nil {
		return err
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "for this host" {
		t.Errorf("decrypted %q, %v", got, err)
	}
	return nil
}

func TestYubiKeyOpensBothStanzas(t *testing.T) {
	r := newYubiKey(t)
	slot := r.card.Slots[0x82]
	native, err := tag.ParseRecipient(tagOf(t, slot))
	if err != nil {
		t.Fatal(err)
	}
	other := newSlot(t)
	otherNative, err := tag.ParseRecipient(tagOf(t, other))
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]age.Recipient{"p256tag": native, "piv-p256": pivP256{slot.Key.PublicKey()}}
	theirs := []age.Recipient{otherNative, pivP256{other.Key.PublicKey()}, newIdentity(t).Recipient()}
	for _, policy := range []byte{1, 2, 3} {
		r.card.Lock(func() { slot.PINPolicy = policy })
		k, err := r.fetch(t)
		if err != nil {
			t.Fatal(err)
		}
		for name, to := range ours {
			if err := openFor(t, encryptTo(t, append(theirs, to)...), k); err != nil {
				t.Errorf("%s with PIN policy %d: %v", name, policy, err)
			}
		}
		var none *age.NoIdentityMatchError
		if err := openFor(t, encryptTo(t, theirs...), k); !errors.As(err, &none) {
			t.Errorf("a file for others: %v", err)
		}
		k.Wipe()
		if err := openFor(t, encryptTo(t, native), k); err == nil {
			t.Error("a wiped key still decrypts")
		}
	}
	for _, bad := range []*age.Stanza{
		{Type: "piv-p256"}, {Type: "p256tag", Args: []string{"AAAAAA"}},
		{Type: "piv-p256", Args: []string{"AAAAAA", "!"}, Body: make([]byte, 32)},
		{Type: "p256tag", Args: []string{"AAAAAA", "AAAA"}, Body: make([]byte, 32)},
	} {
		k, err := r.fetch(t)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Identities()[0].Unwrap([]*age.Stanza{bad})
		wantErr(t, err, "malformed "+bad.Type+" stanza")
		k.Wipe()
	}
}

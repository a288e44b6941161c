package keysrc_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"filippo.io/age/plugin"
	"filippo.io/age/tag"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// A file that is encrypted for the card, on its way to which either may be gone.
func TestYubiKeyFile(t *testing.T) {
	r := newYubiKey(t)
	to, err := tag.ParseRecipient(tagOf(t, r.card.Slots[0x82]))
	if err != nil {
		t.Fatal(err)
	}
	id := newIdentity(t)
	file := encryptText(t, "# host\n"+id.String()+"\n", to)
	keysrctest.Run(t, fileCase(func(path string) map[string]any {
		r.settings["path"] = path
		return r.settings
	}, file, id.Recipient().String(), id.String(), id.String()[20:]))

	path := filepath.Join(t.TempDir(), "host.age.age")
	r.settings["path"] = path
	write(t, path, encryptText(t, id.String(), pivP256{newSlot(t).Key.PublicKey()}), 0o600)
	_, err = r.fetch(t)
	wantErr(t, err, "is not encrypted for slot 82 of YubiKey 11223344")
	write(t, path, []byte(id.String()), 0o600)
	_, err = r.fetch(t)
	wantErr(t, err, "is not encrypted with age for slot 82 of YubiKey 11223344")
	write(t, path, file, 0o600)
	r.readers.Remove(t, 0)
	if _, err := r.fetch(t); !errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("without the card: %v", err)
	}
}

// The form of age-plugin-yubikey for the same key can be pinned.
func TestYubiKeyPinned(t *testing.T) {
	r := newYubiKey(t)
	raw, _ := json.Marshal(r.settings)
	key := r.card.Slots[0x82].Key.PublicKey()
	for _, recipient := range []string{tagOf(t, r.card.Slots[0x82]), plugin.EncodeRecipient("yubikey", compressed(key))} {
		chain, err := keysrc.Settings{Recipient: recipient, Sources: []json.RawMessage{raw}}.Open()
		if err != nil {
			t.Fatal(err)
		}
		k, err := chain.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k.Wipe()
	}
	chain, err := keysrc.Settings{Recipient: tagOf(t, newSlot(t)), Sources: []json.RawMessage{raw}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Fetch(t.Context()); !errors.Is(err, keysrc.ErrWrongKey) {
		t.Errorf("another key is pinned: %v", err)
	}
}

package keysrc_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"pullnode/keysrc"
	"pullnode/keysrc/pcsc"
)

// Another program that is busy with the card is waited for.
func TestYubiKeyWaits(t *testing.T) {
	r := newYubiKey(t)
	c, err := pcsc.Dial(t.Context(), r.readers.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	card, err := c.Connect("Virtual 00 00")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := open(t, r.settings).Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("while another program has the card: %v", err)
	}
	got := make(chan error)
	go func() {
		k, err := r.fetch(t)
		k.Wipe()
		got <- err
	}()
	time.Sleep(100 * time.Millisecond)
	if err := card.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("after it gave the card back: %v", err)
	}
}

func TestYubiKeySettings(t *testing.T) {
	for raw, want := range map[string]string{
		`{}`:                                                           "serial: is missing",
		`{"serial":1}`:                                                 `slot: "" is no slot`,
		`{"serial":1,"slot":"96"}`:                                     `slot: "96" is no slot`,
		`{"serial":1,"slot":"9b"}`:                                     `slot: "9b" is no slot`,
		`{"serial":1,"slot":"9a","pin":"1"}`:                           `unknown setting "pin"`,
		`{"serial":1,"slot":"9a","slots":1}`:                           `did you mean "slot"?`,
		`{"serial":-1,"slot":"9a"}`:                                    "serial: want",
		`{"serial":1,"slot":"82","keepTries":0}`:                       "keepTries: is 0, want 1 to 200",
		`{"serial":1,"slot":"82","pinFile":"pin"}`:                     `pinFile: path: "pin" is not absolute`,
		`{"serial":1,"slot":"82","pinFile":"/nix/store/x"}`:            "in the Nix store",
		`{"serial":1,"slot":"82","pinCredential":"a/b"}`:               `"a/b" is not the name of a credential`,
		`{"serial":1,"slot":"82","pinFile":"/p","pinCredential":"ab"}`: "want one of them",
		`{"serial":1,"slot":"82","path":"host.age.age"}`:               `path: "host.age.age" is not absolute`,
		`{"serial":1,"slot":"82","socket":"pcscd.comm"}`:               "is not absolute",
	} {
		var s map[string]any
		if err := json.Unmarshal([]byte(raw), &s); err != nil {
			t.Fatal(err)
		}
		s["type"] = "yubikey"
		full, _ := json.Marshal(s)
		_, err := keysrc.OpenAll([]json.RawMessage{full})
		wantErr(t, err, want)
	}
}

func TestYubiKeyPINCredential(t *testing.T) {
	r := newYubiKey(t)
	delete(r.settings, "pinFile")
	r.settings["pinCredential"] = "yubikey.pin"
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	_, err := r.fetch(t)
	wantErr(t, err, "pinCredential: there is no such")
	write(t, filepath.Join(dir, "yubikey.pin"), []byte(cardPIN), 0o440)
	k, err := r.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	k.Wipe()
}

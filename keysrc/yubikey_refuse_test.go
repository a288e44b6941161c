package keysrc_test

import (
	"errors"
	"os"
	"testing"

	"filippo.io/age/tag"

	"pullnode/keysrc"
	"pullnode/keysrc/pcsc"
)

// What stops the search, and which class of error says so.
func TestYubiKeyRefuses(t *testing.T) {
	r := newYubiKey(t)
	slot, pinFile := r.card.Slots[0x82], r.pinFile
	for name, c := range map[string]struct {
		change func() // of card and settings; all is put right again
		is     error  // nil is no class
		want   string
		sent   int // PINs that may reach the card
	}{
		"wrong PIN":       {func() { r.card.PIN = "999999" }, keysrc.ErrDenied, "refused the PIN of pinFile, 2 tries are left", 1},
		"two tries left":  {func() { r.card.Tries = 2 }, keysrc.ErrDenied, "2 tries of the PIN are left and keepTries is 2, so it was not sent", 0},
		"one try left":    {func() { r.card.Tries = 1; r.settings["keepTries"] = 1 }, keysrc.ErrDenied, "so it was not sent", 0},
		"shown by others": {func() { r.card.Tries = 2; r.card.ShownBefore = true }, keysrc.ErrDenied, "2 tries of the PIN are left", 0},
		"locked":          {func() { r.card.Tries = 0 }, keysrc.ErrDenied, "the PIN is locked", 0},
		"no PIN set":      {func() { delete(r.settings, "pinFile") }, nil, "slot 82 wants a PIN", 0},
		"no PIN file":     {func() { r.settings["pinFile"] = pinFile + ".gone" }, nil, "pinFile: there is no such file", 0},
		"open PIN file":   {func() { os.Chmod(pinFile, 0o444) }, nil, "pinFile: has mode 0444", 0},
		"no PIN in it":    {func() { write(t, pinFile, []byte("my PIN\n"), 0o400) }, nil, "pinFile: holds no PIN", 0},
		"wrong slot":      {func() { r.settings["slot"] = "9D" }, nil, "slot 9d has no key", 0},
		"touch":           {func() { slot.TouchPolicy = 2 }, nil, "wants to be touched", 0},
		"other algorithm": {func() { slot.Alg = 0x14 }, nil, "want P-256", 0},
		"not its key":     {func() { slot.Metadata = newSlot(t).Describe() }, keysrc.ErrCorrupt, "does not fit its public half", 1},
		"wrong serial":    {func() { r.settings["serial"] = 5 }, keysrc.ErrAbsent, "other cards are: number 11223344", 0},
		"no serial":       {func() { r.card.Serial = 0 }, keysrc.ErrAbsent, "tells no serial number", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r.card.Lock(func() { r.card.Sent, r.card.Tries = 0, 3; c.change() })
			_, err := r.fetch(t)
			wantErr(t, err, c.want)
			for _, class := range []error{keysrc.ErrAbsent, keysrc.ErrDenied, keysrc.ErrCorrupt, keysrc.ErrWrongKey} {
				if errors.Is(err, class) != (class == c.is) {
					t.Errorf("%v: wrapping %q is %v", err, class, errors.Is(err, class))
				}
			}
			r.card.Lock(func() {
				if r.card.Sent != c.sent {
					t.Errorf("%d PINs were sent, want %d", r.card.Sent, c.sent)
				}
				r.card.PIN, r.card.Serial, r.card.Tries = cardPIN, cardSerial, 3
				slot.PINPolicy, slot.TouchPolicy, slot.Alg, slot.Metadata = 2, 1, 0, nil
			})
			write(t, pinFile, []byte(cardPIN), 0o400)
			delete(r.settings, "keepTries")
			r.settings["pinFile"], r.settings["slot"], r.settings["serial"] = pinFile, "82", cardSerial
			k, err := r.fetch(t)
			if err != nil {
				t.Fatalf("after all was put right: %v", err)
			}
			k.Wipe()
		})
	}
}

// However often a wrong PIN is asked for, and by however many processes, the
// card is not locked.
func TestYubiKeyIsNeverLocked(t *testing.T) {
	r := newYubiKey(t)
	k, err := r.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	to, err := tag.ParseRecipient(k.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	file := encryptTo(t, to)
	write(t, r.pinFile, []byte("000000"), 0o400)
	for range 4 {
		if _, err := r.fetch(t); !errors.Is(err, keysrc.ErrDenied) {
			t.Errorf("fetch: %v", err)
		}
		if err := openFor(t, file, k); !errors.Is(err, keysrc.ErrDenied) {
			t.Errorf("use of a held key: %v", err)
		}
	}
	r.card.Lock(func() {
		if r.card.Tries != 2 || r.card.Sent != 2 {
			t.Errorf("%d tries are left and %d PINs were sent, want 2 and 2 (the right and one wrong)", r.card.Tries, r.card.Sent)
		}
		r.card.Tries = 3 // as when somebody shows the right PIN by hand
	})
	write(t, r.pinFile, []byte(cardPIN), 0o400)
	if err := openFor(t, file, k); err != nil {
		t.Errorf("after the PIN was put right: %v", err)
	}
}

func TestYubiKeyComesAndGoes(t *testing.T) {
	r := newYubiKey(t)
	k, err := r.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	to, err := tag.ParseRecipient(k.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	file := encryptTo(t, to)
	gone := func(err error, want string) {
		t.Helper()
		wantErr(t, err, want)
		if !errors.Is(err, keysrc.ErrAbsent) {
			t.Errorf("%v does not wrap ErrAbsent", err)
		}
	}
	// Another YubiKey is there first, and stays.
	r.readers.Insert(t, 1, newCard(t, 55667788))
	if err := openFor(t, file, k); err != nil {
		t.Errorf("with two cards: %v", err)
	}
	r.readers.Remove(t, 0)
	gone(openFor(t, file, k), "other cards are: number 55667788")
	_, err = r.fetch(t)
	gone(err, "other cards are: number 55667788")
	r.readers.Remove(t, 1)
	_, err = r.fetch(t)
	gone(err, "no card is plugged in")

	// The same number with another key in the slot is a swapped card.
	swapped := newCard(t, cardSerial)
	r.readers.Insert(t, 0, swapped)
	if err := openFor(t, file, k); !errors.Is(err, keysrc.ErrWrongKey) {
		t.Errorf("with another key in the slot: %v", err)
	}
	swapped.Lock(func() {
		if swapped.Sent != 0 {
			t.Error("the PIN was sent to a card with another key")
		}
	})
	r.readers.Remove(t, 0)
	r.readers.Insert(t, 0, r.card)
	if err := openFor(t, file, k); err != nil {
		t.Errorf("back again: %v", err)
	}

	r.readers.Stop()
	gone(openFor(t, file, k), "nobody listens on "+r.readers.Socket)
	os.Remove(r.readers.Socket)
	_, err = r.fetch(t)
	gone(err, "is pcscd.socket active?")
}

// A PIN that was shown counts for nobody else afterwards, and one that somebody
// else has shown does not count here.
func TestYubiKeyForgetsThePIN(t *testing.T) {
	r := newYubiKey(t)
	k, err := r.fetch(t)
	if err != nil {
		t.Fatal(err)
	}
	k.Wipe()
	other := func(f func(*pcsc.Card)) {
		c, err := pcsc.Dial(t.Context(), r.readers.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		card, err := c.Connect("Virtual 00 00")
		if err != nil {
			t.Fatal(err)
		}
		f(card)
	}
	apdu := func(card *pcsc.Card, msg string) (status uint16) {
		_, status, err := card.Transmit([]byte(msg))
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	const selectPIV, verify = "\x00\xa4\x04\x00\x05\xa0\x00\x00\x03\x08", "\x00\x20\x00\x80"
	other(func(card *pcsc.Card) {
		apdu(card, selectPIV)
		if got := apdu(card, verify); got != 0x63c3 {
			t.Errorf("after use, another program finds the PIN shown (%04x)", got)
		}
		// It shows the PIN itself and ends without a reset.
		if got := apdu(card, verify+"\x08"+cardPIN+"\xff\xff"); got != 0x9000 {
			t.Fatalf("%04x", got)
		}
	})
	write(t, r.pinFile, []byte("000000"), 0o400)
	_, err = r.fetch(t)
	wantErr(t, err, "refused the PIN")
}

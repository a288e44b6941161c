package keysrc

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"pullnode/internal/registry"
	"pullnode/keysrc/pcsc"
)

func init() { registry.Add(&Kinds, "yubikey", openYubiKey) }

// yubiKeySettings are those of the source "yubikey".
type yubiKeySettings struct {
	// Serial is the number that is printed on the YubiKey.
	Serial uint32 `json:"serial"`
	// Slot of the P-256 key: "82" to "95" (where age-plugin-yubikey makes it),
	// or "9a", "9c", "9d", "9e".
	Slot string `json:"slot"`
	// PINCredential is the name of a systemd credential of the unit, PINFile a
	// file of root's, with the PIN; none of them for a key that wants no PIN.
	PINCredential string `json:"pinCredential,omitempty"`
	PINFile       string `json:"pinFile,omitempty"`
	// KeepTries is how many tries of the PIN are left to people: with no more
	// than that the PIN is not sent. Default 2, at least 1, so that the card is
	// never locked from here.
	KeepTries *int `json:"keepTries,omitempty"`
	// Path of an identity file that is encrypted with age for the slot's key;
	// empty makes that key itself the host's.
	Path string `json:"path,omitempty"`
	// Socket is pcscd's; empty is /run/pcscd/pcscd.comm.
	Socket string `json:"socket,omitempty"`
}

// yubiKey is a P-256 key in a PIV slot of one YubiKey.
type yubiKey struct {
	serial    uint32
	slot      byte
	pin       func(context.Context) ([]byte, error) // nil for none
	pinName   string                                // the setting that it comes from
	keepTries int
	socket    string
}

const (
	defaultKeepTries = 2
	// cardTries bounds how often a use begins anew that another program
	// disturbed. Before each PIN the card is asked for its count.
	cardTries = 5
)

func openYubiKey(s yubiKeySettings) (Source, error) {
	y := &yubiKey{serial: s.Serial, keepTries: defaultKeepTries, socket: s.Socket}
	if s.Serial == 0 {
		return nil, errors.New("serial: is missing; it is printed on the YubiKey, and `ykman list` shows it")
	}
	slot, err := strconv.ParseUint(s.Slot, 16, 8)
	retired := slot >= 0x82 && slot <= 0x95
	if err != nil || !retired && !strings.Contains(" 9a 9c 9d 9e ", " "+strings.ToLower(s.Slot)+" ") {
		return nil, fmt.Errorf("slot: %q is no slot for a key, want \"82\" to \"95\", \"9a\", \"9c\", \"9d\" or \"9e\"", s.Slot)
	}
	y.slot = byte(slot)
	if s.KeepTries != nil {
		if y.keepTries = *s.KeepTries; y.keepTries < 1 || y.keepTries > 200 {
			return nil, fmt.Errorf("keepTries: is %d, want 1 to 200: with none left the YubiKey is locked", y.keepTries)
		}
	}
	if y.socket == "" {
		y.socket = pcsc.DefaultSocket
	}
	if !filepath.IsAbs(y.socket) {
		return nil, fmt.Errorf("socket: %q is not absolute", y.socket)
	}
	if err := y.openPIN(s); err != nil || s.Path == "" {
		return y, err
	}
	path, err := checkPath(s.Path)
	return yubiKeyFile{y, path}, err
}

func (y *yubiKey) openPIN(s yubiKeySettings) error {
	switch {
	case s.PINCredential != "" && s.PINFile != "":
		return errors.New("pinFile: is there beside pinCredential, want one of them")
	case s.PINCredential != "":
		c, err := openCredential(credentialSettings{s.PINCredential})
		if err != nil {
			return fmt.Errorf("pinCredential: %w", err)
		}
		y.pinName, y.pin = "pinCredential", c.(credential).read
	case s.PINFile != "":
		path, err := checkPath(s.PINFile)
		if err != nil {
			return fmt.Errorf("pinFile: %w", err)
		}
		y.pinName = "pinFile"
		y.pin = func(ctx context.Context) ([]byte, error) { return readPrivate(ctx, path, 0o077) }
	}
	return nil
}

// Name is Source's.
func (y *yubiKey) Name() string { return fmt.Sprintf("yubikey:%d/%x", y.serial, y.slot) }

// Fetch is Source's. It proves that the key can be used now, with the PIN; each
// later use talks to the card again. Absent is a card that is not plugged in,
// or no pcscd; ErrDenied is a PIN that is wrong or not tried.
func (y *yubiKey) Fetch(ctx context.Context) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var public *ecdh.PublicKey
	err := y.withCard(ctx, func(c pivCard) error {
		slot, err := c.metadata(y.slot)
		if err != nil {
			return err
		}
		public = slot.public
		return c.prove(ctx, y, slot)
	})
	if err != nil {
		return nil, err
	}
	return deviceKey(&p256Identity{public: public, piv: true, exchange: func(remote *ecdh.PublicKey) (shared []byte, err error) {
		ctx := context.Background() // age has none; withCard has a limit
		err = y.withCard(ctx, func(c pivCard) error {
			slot, err := c.metadata(y.slot)
			if err != nil {
				return err
			}
			if !slot.public.Equal(public) {
				return fmt.Errorf("%w: slot %x has another key than before", ErrWrongKey, y.slot)
			}
			shared, err = c.use(ctx, y, slot, remote)
			return err
		})
		return shared, err
	}})
}

// withCard finds the card with the serial number and runs f with it, all within
// deviceTimeout. Other cards are only asked for their number.
func (y *yubiKey) withCard(ctx context.Context, f func(pivCard) error) error {
	ctx, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	client, err := pcsc.Dial(ctx, y.socket)
	switch {
	case err != nil && isGone(err):
		return fmt.Errorf("%w: nobody listens on %s: is pcscd.socket active?", ErrAbsent, y.socket)
	case err != nil:
		return fmt.Errorf("pcscd: %w", err)
	}
	defer client.Close()
	readers, err := client.Readers()
	if err != nil {
		return err
	}
	var others []string
	for _, r := range readers {
		found, serial, err := y.tryReader(client, r, f)
		for try := 1; try < cardTries && pcsc.Disturbed(err); try++ {
			found, serial, err = y.tryReader(client, r, f)
		}
		if found {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err() // whatever a card said: not all were asked
		}
		switch {
		case pcsc.Absent(err): // pulled out meanwhile
		case err != nil:
			others = append(others, fmt.Sprintf("in %q: %v", r, err))
		default:
			others = append(others, fmt.Sprintf("number %d", serial))
		}
	}
	seen := "no card is plugged in"
	if len(others) > 0 {
		seen = "it is not plugged in, other cards are: " + strings.Join(others, ", ")
	}
	return fmt.Errorf("%w: %s", ErrAbsent, seen)
}

// tryReader runs f if the card in the reader is the one, which found tells.
func (y *yubiKey) tryReader(client *pcsc.Client, reader string, f func(pivCard) error) (found bool, serial uint32, err error) {
	card, err := client.Connect(reader)
	if err != nil {
		return false, 0, err
	}
	defer card.Close()
	c := pivCard{card}
	if serial, err = c.start(); err != nil || serial != y.serial {
		return false, serial, err
	}
	err = f(c)
	if pcsc.Absent(err) {
		err = fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return true, serial, err
}

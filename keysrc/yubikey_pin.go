package keysrc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// showPIN sends the PIN only while more tries are left than are to be kept for
// people. The card counts, so this holds over restarts and for every process.
func (c pivCard) showPIN(ctx context.Context, y *yubiKey) error {
	if y.pin == nil {
		return fmt.Errorf("slot %x wants a PIN: set pinCredential or pinFile, or make the key with PIN policy \"never\"", y.slot)
	}
	left, err := c.triesLeft()
	switch {
	case err != nil:
		return fmt.Errorf("ask for the tries of the PIN that are left: %w", err)
	case left == 0:
		return errLocked
	case left <= y.keepTries:
		return fmt.Errorf("%w: %d tries of the PIN are left and keepTries is %d, so it was not sent; the right PIN, shown by hand, sets the count back", ErrDenied, left, y.keepTries)
	}
	pin, err := y.readPIN(ctx)
	if err != nil {
		return err
	}
	defer clear(pin)
	_, err = c.send(insVerify, 0, refPIN, pin)
	var sw statusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &sw) && sw == swBlocked:
		return errLocked
	case errors.As(err, &sw) && sw&0xfff0 == swTries:
		return fmt.Errorf("%w: the card refused the PIN of %s, %d tries are left; put the right one there", ErrDenied, y.pinName, sw&0xf)
	}
	return fmt.Errorf("show the PIN: %w", err)
}

var errLocked = fmt.Errorf("%w: the PIN is locked; unlock it with the PUK (ykman piv access unblock-pin)", ErrDenied)

// triesLeft asks how many wrong PINs the card still takes. It does not tell
// while a PIN counts that somebody else has shown, so the card is then reset.
func (c pivCard) triesLeft() (int, error) {
	_, err := c.send(insVerify, 0, refPIN, nil)
	if err == nil {
		if err := c.Reset(); err != nil {
			return 0, err
		}
		if _, err := c.start(); err != nil {
			return 0, err
		}
		_, err = c.send(insVerify, 0, refPIN, nil)
	}
	var sw statusError
	switch {
	case err == nil:
		return 0, errors.New("the card takes the PIN for shown, also after a reset")
	case !errors.As(err, &sw):
		return 0, err
	case sw == swBlocked:
		return 0, nil
	case sw&0xfff0 == swTries:
		return int(sw & 0xf), nil
	}
	return 0, err
}

// readPIN gives the PIN as the card takes it. The caller clears it.
func (y *yubiKey) readPIN(ctx context.Context) ([]byte, error) {
	raw, err := y.pin(ctx)
	defer clear(raw)
	if errors.Is(err, ErrAbsent) {
		// The card is there: that its PIN is not must not let the source be
		// passed over.
		return nil, fmt.Errorf("%s: there is no such file or credential", y.pinName)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", y.pinName, err)
	}
	pin, err := padPIN(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", y.pinName, err)
	}
	return pin, nil
}

// padPIN makes of a file's content the eight bytes that PIV takes.
func padPIN(raw []byte) ([]byte, error) {
	pin := bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	if len(pin) < 4 || len(pin) > 8 || bytes.ContainsAny(pin, " \t\r\n\xff") {
		return nil, errors.New("holds no PIN: want 6 to 8 characters on one line")
	}
	return append(bytes.Clone(pin), bytes.Repeat([]byte{0xff}, 8-len(pin))...), nil
}

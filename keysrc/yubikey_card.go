package keysrc

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"pullnode/keysrc/pcsc"
)

// Instructions and status words of PIV (NIST SP 800-73-4) and what YubiKeys add
// to it (Yubico PIV extensions: serial number and metadata).
const (
	insVerify      = 0x20
	insAuthGeneral = 0x87
	insSelect      = 0xa4
	insGetResponse = 0xc0
	insMetadata    = 0xf7
	insSerial      = 0xf8

	refPIN  = 0x80
	algP256 = 0x11

	swOK         = 0x9000
	swMore       = 0x6100 // low byte: how much
	swTries      = 0x63c0 // low digit: tries left
	swNotAllowed = 0x6982
	swBlocked    = 0x6983
	swNoSuchApp  = 0x6a82
	swNoSuchRef  = 0x6a88
	swNoSuchIns  = 0x6d00

	pinNever   = 1
	touchNever = 1

	// cardAnswerMax bounds an answer over several APDUs: metadata has 90 bytes.
	cardAnswerMax = 4096
)

var pivApplication = []byte{0xa0, 0x00, 0x00, 0x03, 0x08}

// pivCard is a card that this process has for itself.
type pivCard struct{ *pcsc.Card }

// statusError is a status word that says no.
type statusError uint16

func (e statusError) Error() string { return fmt.Sprintf("the card says %04x", uint16(e)) }

// send exchanges one command, and fetches the rest of a long answer.
func (c pivCard) send(ins, p1, p2 byte, data []byte) ([]byte, error) {
	apdu := append([]byte{0, ins, p1, p2, byte(len(data))}, data...)
	defer clear(apdu)
	if len(data) == 0 {
		apdu = apdu[:4:4]
		if ins != insVerify {
			apdu = append(apdu, 0)
		}
	}
	out, sw, err := c.Transmit(apdu)
	for err == nil && sw&0xff00 == swMore {
		var more []byte
		more, sw, err = c.Transmit([]byte{0, insGetResponse, 0, 0, byte(sw)})
		if out = append(out, more...); len(out) > cardAnswerMax {
			return nil, fmt.Errorf("%w: the card's answer has over %d bytes", ErrCorrupt, cardAnswerMax)
		}
	}
	if err != nil {
		return nil, err
	}
	if sw != swOK {
		return nil, statusError(sw)
	}
	return out, nil
}

// start selects PIV, which forgets a PIN, and gives the serial number. A card that
// another program resets in between has nothing selected and answers as one that
// knows no such command, so it is asked three times.
func (c pivCard) start() (serial uint32, err error) {
	for try := 1; ; try++ {
		serial, err = c.once()
		if try == 3 || !errors.Is(err, errNoSerial) {
			return serial, err
		}
	}
}

var errNoSerial = errors.New("a card that tells no serial number, want a YubiKey 5")

func (c pivCard) once() (serial uint32, err error) {
	switch _, err := c.send(insSelect, 4, 0, pivApplication); {
	case errors.Is(err, statusError(swNoSuchApp)):
		return 0, errors.New("no PIV card")
	case err != nil:
		return 0, fmt.Errorf("select PIV: %w", err)
	}
	raw, err := c.send(insSerial, 0, 0, nil)
	switch {
	case errors.Is(err, statusError(swNoSuchIns)):
		return 0, errNoSerial
	case err != nil:
		return 0, fmt.Errorf("serial number: %w", err)
	case len(raw) != 4:
		return 0, fmt.Errorf("serial number of %d bytes, want 4", len(raw))
	}
	return binary.BigEndian.Uint32(raw), nil
}

// pivSlot is what a card says about the key in a slot.
type pivSlot struct {
	number   byte
	public   *ecdh.PublicKey
	needsPIN bool
}

// metadata reads a slot and refuses a key that cannot be used here.
func (c pivCard) metadata(number byte) (s pivSlot, err error) {
	raw, err := c.send(insMetadata, 0, number, nil)
	switch {
	case errors.Is(err, statusError(swNoSuchRef)), errors.Is(err, statusError(swNoSuchApp)):
		return s, fmt.Errorf("slot %x has no key", number)
	case errors.Is(err, statusError(swNoSuchIns)):
		return s, errors.New("this YubiKey does not tell about its keys: its firmware is older than 5.3")
	case err != nil:
		return s, fmt.Errorf("slot %x: %w", number, err)
	}
	parts, ok := tlvs(raw)
	alg, policy := parts[0x01], parts[0x02]
	inner, innerOK := tlvs(parts[0x04])
	point := inner[0x86]
	if !ok || !innerOK || len(alg) != 1 || len(policy) != 2 || len(point) == 0 {
		return s, fmt.Errorf("%w: slot %x: what the card says about its key makes no sense", ErrCorrupt, number)
	}
	if alg[0] != algP256 {
		return s, fmt.Errorf("slot %x has a key of algorithm %#x, want P-256 (%#x)", number, alg[0], algP256)
	}
	if policy[1] != touchNever {
		return s, fmt.Errorf("slot %x wants to be touched for each use, and nobody is there: make the key with touch policy \"never\"", number)
	}
	if s.public, err = ecdh.P256().NewPublicKey(point); err != nil {
		return s, fmt.Errorf("%w: slot %x: its public key is none", ErrCorrupt, number)
	}
	s.number, s.needsPIN = number, policy[0] != pinNever
	return s, nil
}

// use has the card do ECDH, after showing it the PIN if it wants one.
func (c pivCard) use(ctx context.Context, y *yubiKey, s pivSlot, remote *ecdh.PublicKey) ([]byte, error) {
	if s.needsPIN {
		if err := c.showPIN(ctx, y); err != nil {
			return nil, err
		}
	}
	request := append([]byte{0x7c, 0x45, 0x82, 0x00, 0x85, 0x41}, remote.Bytes()...)
	raw, err := c.send(insAuthGeneral, algP256, s.number, request)
	defer clear(raw)
	switch {
	case errors.Is(err, statusError(swNotAllowed)):
		return nil, fmt.Errorf("%w: slot %x does not do it, with the right PIN", ErrDenied, s.number)
	case err != nil:
		return nil, fmt.Errorf("slot %x: key exchange: %w", s.number, err)
	}
	outer, ok := tlvs(raw)
	inner, innerOK := tlvs(outer[0x7c])
	if shared := inner[0x82]; ok && innerOK && len(shared) == 32 {
		return bytes.Clone(shared), nil
	}
	return nil, fmt.Errorf("%w: slot %x: the card's answer to a key exchange makes no sense", ErrCorrupt, s.number)
}

// prove uses the slot's key once, with a throw-away key on our side.
func (c pivCard) prove(ctx context.Context, y *yubiKey, s pivSlot) error {
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	want, err := own.ECDH(s.public)
	if err != nil {
		return err
	}
	got, err := c.use(ctx, y, s, own.PublicKey())
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: slot %x: the card's key does not fit its public half", ErrCorrupt, s.number)
	}
	return nil
}

// tlvs parses one level of BER-TLV with tags of one byte.
func tlvs(b []byte) (parts map[byte][]byte, ok bool) {
	parts = map[byte][]byte{}
	for len(b) > 0 {
		if len(b) < 2 {
			return parts, false
		}
		tag, n := b[0], int(b[1])
		b = b[2:]
		switch {
		case n == 0x81 && len(b) >= 1:
			n, b = int(b[0]), b[1:]
		case n == 0x82 && len(b) >= 2:
			n, b = int(b[0])<<8|int(b[1]), b[2:]
		case n >= 0x80:
			return parts, false
		}
		if n > len(b) {
			return parts, false
		}
		parts[tag], b = b[:n], b[n:]
	}
	return parts, true
}

package keysrctest

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"sync"
)

// PIVCard is a PIV card as a YubiKey 5 is one, as far as a key source needs it.
// It is written to NIST SP 800-73-4 and Yubico's description of its extensions,
// and is no hardware: what a real card does beyond these is not shown by it.
type PIVCard struct {
	Serial uint32
	PIN    string
	Tries  int // of the PIN that are left, at first 3
	Slots  map[byte]*PIVSlot
	Sent   int // PINs that were sent to it
	// ShownBefore says that somebody else has shown the PIN and left it so, when
	// PIV is next selected.
	ShownBefore bool

	mu     sync.Mutex
	chosen bool // PIV is selected
	shown  bool // the PIN was shown since
	rest   []byte
}

// PIVSlot is a place for a P-256 key on the card.
type PIVSlot struct {
	Key         *ecdh.PrivateKey
	PINPolicy   byte // 1 never, 2 once, 3 always
	TouchPolicy byte // 1 never, 2 always, 3 cached
	Alg         byte // 0 is that of P-256
	// Metadata replaces what the card tells about the slot.
	Metadata []byte
}

// yubiKeyATR is how a YubiKey 5 answers a reset.
var yubiKeyATR = []byte{0x3b, 0xfd, 0x13, 0, 0, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0x40}

// Lock runs f while no APDU is answered.
func (c *PIVCard) Lock(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *PIVCard) reset() { c.Lock(func() { c.chosen, c.shown, c.rest = false, false, nil }) }

// apdu answers one command, in pieces of 256 bytes.
func (c *PIVCard) apdu(a []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(a) < 4 || a[0] != 0 {
		return []byte{0x6e, 0}
	}
	if a[1] != 0xc0 {
		var data []byte
		if len(a) > 5 {
			if int(a[4])+5 > len(a) {
				return []byte{0x67, 0}
			}
			data = a[5 : 5+a[4]]
		}
		out, status := c.command(a[1], a[2], a[3], data)
		if c.rest = nil; status != 0x9000 {
			return binary.BigEndian.AppendUint16(nil, status)
		}
		c.rest = out
	}
	n := min(len(c.rest), 256)
	out := bytes.Clone(c.rest[:n])
	c.rest = c.rest[n:]
	if left := len(c.rest); left > 0 {
		return append(out, 0x61, byte(min(left, 255)))
	}
	return append(out, 0x90, 0)
}

func (c *PIVCard) command(ins, p1, p2 byte, data []byte) (out []byte, status uint16) {
	if ins == 0xa4 {
		c.chosen = p1 == 4 && bytes.Equal(data, []byte{0xa0, 0, 0, 3, 8})
		if !c.chosen {
			return nil, 0x6a82
		}
		c.shown, c.ShownBefore = c.shown || c.ShownBefore, false
		return tlv(0x61, tlv(0x4f, []byte{0, 0, 0x10, 0, 1, 0})), 0x9000
	}
	if !c.chosen {
		return nil, 0x6d00
	}
	switch ins {
	case 0xf8:
		if c.Serial == 0 {
			return nil, 0x6d00
		}
		return binary.BigEndian.AppendUint32(nil, c.Serial), 0x9000
	case 0x20:
		return nil, c.verify(p2, data)
	case 0xf7:
		return c.metadata(p2)
	case 0x87:
		return c.authenticate(p1, p2, data)
	}
	return nil, 0x6d00
}

func (c *PIVCard) verify(ref byte, pin []byte) (status uint16) {
	padded := append([]byte(c.PIN), bytes.Repeat([]byte{0xff}, 8)...)[:8]
	switch {
	case ref != 0x80:
		return 0x6a88
	case len(pin) == 0 && c.shown:
		return 0x9000
	case len(pin) == 0 && c.Tries > 0:
		return 0x63c0 | uint16(c.Tries)
	case len(pin) != 0:
		c.Sent++
	}
	switch {
	case c.Tries == 0:
		return 0x6983
	case !bytes.Equal(pin, padded):
		c.shown = false
		if c.Tries--; c.Tries == 0 {
			return 0x6983
		}
		return 0x63c0 | uint16(c.Tries)
	}
	c.Tries, c.shown = 3, true
	return 0x9000
}

func (s *PIVSlot) alg() byte {
	if s.Alg != 0 {
		return s.Alg
	}
	return 0x11
}

// Describe gives what the card tells about the slot.
func (s *PIVSlot) Describe() []byte {
	out := append(tlv(1, []byte{s.alg()}), tlv(2, []byte{s.PINPolicy, s.TouchPolicy})...)
	out = append(out, tlv(3, []byte{1})...)
	return append(out, tlv(4, tlv(0x86, s.Key.PublicKey().Bytes()))...)
}

func (c *PIVCard) metadata(slot byte) (out []byte, status uint16) {
	s := c.Slots[slot]
	switch {
	case s == nil:
		return nil, 0x6a88
	case s.Metadata != nil:
		return s.Metadata, 0x9000
	}
	return s.Describe(), 0x9000
}

// authenticate does ECDH: 7C { 82 empty, 85 point }.
func (c *PIVCard) authenticate(alg, slot byte, data []byte) (out []byte, status uint16) {
	s := c.Slots[slot]
	head := []byte{0x7c, 0x45, 0x82, 0, 0x85, 0x41}
	switch {
	case s == nil:
		return nil, 0x6a88
	case alg != s.alg() || !bytes.HasPrefix(data, head):
		return nil, 0x6a80
	case s.PINPolicy != 1 && !c.shown, s.TouchPolicy != 1:
		return nil, 0x6982
	}
	if s.PINPolicy == 3 {
		c.shown = false
	}
	remote, err := ecdh.P256().NewPublicKey(data[len(head):])
	if err != nil {
		return nil, 0x6a80
	}
	shared, err := s.Key.ECDH(remote)
	if err != nil {
		return nil, 0x6a80
	}
	return tlv(0x7c, tlv(0x82, shared)), 0x9000
}

func tlv(tag byte, value []byte) []byte {
	return append([]byte{tag, byte(len(value))}, value...) // under 128 bytes
}

package keysrc

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A needle is looked for as text, which has MinValue bytes or more. What it hits
// is judged by found, which gets the rest of the data from the hit on and may
// still say no.
type needle struct {
	text  []byte
	found func(rest []byte) (Leak, bool)
}

// gram bytes of a needle are compared at once. Of any needle's first MinValue
// bytes, one gram lies at every stride-th place of the data, so that no other
// places are looked at.
const (
	gram     = 6
	stride   = MinValue - gram + 1
	gramMask = 1<<(8*gram) - 1
)

// haystack finds many needles in one pass: a place in the data whose gram no
// needle has, which is nearly every place, costs a load and a look at a bit.
type haystack struct {
	needles []needle
	bits    []uint64 // a filter of the hashes of all grams
	shift   int
	at      map[uint64][]place
}

// place is where in which needle a gram is.
type place struct{ needle, offset int }

func newHaystack(needles []needle) *haystack {
	h := &haystack{needles: needles, at: map[uint64][]place{}}
	// One bit in 64 is set at most; the smallest filter fits a first-level cache.
	n := max(16, bits.Len(uint(len(needles)*stride*64)))
	h.bits, h.shift = make([]uint64, 1<<n/64), 64-n
	for i, d := range needles {
		for o := range stride {
			g := binary.LittleEndian.Uint64(append(bytes.Clone(d.text[o:o+gram]), 0, 0))
			h.at[g] = append(h.at[g], place{i, o})
			s := h.hash(g)
			h.bits[s/64] |= 1 << (s % 64)
		}
	}
	return h
}

func (h *haystack) hash(g uint64) uint64 { return g * 0x9e3779b97f4a7c15 >> h.shift }

// find calls hit for what is in b; spare bytes behind it, at least 8, may be
// overwritten.
func (h *haystack) find(b []byte, hit func(Leak)) {
	n := len(b)
	b = b[:n+8]
	clear(b[n:])
	for i := 0; i+gram <= n; i += stride {
		g := binary.LittleEndian.Uint64(b[i:]) & gramMask
		s := h.hash(g)
		if h.bits[s/64]&(1<<(s%64)) == 0 {
			continue
		}
		for _, p := range h.at[g] {
			if p.offset > i {
				continue
			}
			d, rest := h.needles[p.needle], b[i-p.offset:n]
			if !bytes.HasPrefix(rest, d.text) {
				continue
			}
			if l, ok := d.found(rest); ok {
				hit(l)
			}
		}
	}
}

// wipe overwrites the grams of the needles, which are pieces of them. The texts
// are their owner's.
func (h *haystack) wipe() {
	clear(h.at)
	clear(h.bits)
}

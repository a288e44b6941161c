package keysrc

import "bytes"

// bech32 encodes data behind a prefix in lower case by BIP 173, without its
// limit of 90 characters, as age does; age keeps its encoder to itself. It
// gives bytes, not a string, so that the caller can clear a secret.
func bech32(prefix string, data []byte) []byte {
	const set = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	groups := make([]byte, 0, (len(data)*8+4)/5+6)
	acc, bits := uint32(0), 0
	for _, b := range data {
		acc, bits = acc<<8|uint32(b), bits+8
		for bits >= 5 {
			bits -= 5
			groups = append(groups, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		groups = append(groups, byte(acc<<(5-bits)&31))
	}
	sum := uint32(1)
	// The checksum takes the prefix in two parts: high bits, then low bits.
	for _, c := range []byte(prefix) {
		sum = polymod(sum, c>>5)
	}
	sum = polymod(sum, 0)
	for _, c := range []byte(prefix) {
		sum = polymod(sum, c&31)
	}
	for _, g := range groups {
		sum = polymod(sum, g)
	}
	for range 6 {
		sum = polymod(sum, 0)
	}
	sum ^= 1
	for i := range 6 {
		groups = append(groups, byte(sum>>(5*(5-i))&31))
	}
	out := append(make([]byte, 0, len(prefix)+1+len(groups)), prefix+"1"...)
	for _, g := range groups {
		out = append(out, set[g])
	}
	clear(groups)
	return out
}

// encodeIdentity writes an X25519 scalar as an age identity.
func encodeIdentity(scalar []byte) []byte {
	low := bech32("age-secret-key-", scalar)
	defer clear(low)
	return bytes.ToUpper(low)
}

// polymod takes one 5-bit value into BIP 173's checksum.
func polymod(sum uint32, v byte) uint32 {
	top := sum >> 25
	sum = sum&0x1ffffff<<5 ^ uint32(v)
	for i, gen := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			sum ^= gen
		}
	}
	return sum
}

// Package shares splits a secret among people so that some of them together have
// it and fewer know nothing: Shamir's scheme over GF(2^8), with the polynomial of
// AES. Shares are lines of text that can be printed, read out and typed in.
package shares

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of a set. A threshold of one would be a copy for everybody.
const (
	MinThreshold = 2
	MaxShares    = 32
	maxSecret    = 4 << 10
)

// checkSize is how much of a hash tells a share that was typed wrong.
const checkSize = 4

// mul multiplies in GF(2^8), in constant time.
func mul(a, b byte) (p byte) {
	for range 8 {
		p ^= -(b & 1) & a
		a = a<<1 ^ -(a>>7)&0x1b
		b >>= 1
	}
	return p
}

// inverse is a^254; of 0 it is 0.
func inverse(a byte) byte {
	r := byte(1)
	for range 7 {
		a = mul(a, a)
		r = mul(r, a)
	}
	return r
}

// Split gives n shares as text, of which any k together are the secret.
func Split(secret []byte, k, n int) ([]string, error) {
	switch {
	case len(secret) == 0 || len(secret) > maxSecret:
		return nil, fmt.Errorf("a secret of %d bytes cannot be split, want 1 to %d", len(secret), maxSecret)
	case k < MinThreshold || k > n || n > MaxShares:
		return nil, fmt.Errorf("%d of %d shares: want %d <= threshold <= shares <= %d", k, n, MinThreshold, MaxShares)
	}
	set := make([]byte, 5)
	rand.Read(set)
	values := make([][]byte, n)
	for i := range values {
		values[i] = make([]byte, len(secret))
	}
	coefficients := make([]byte, k)
	defer clear(coefficients)
	for at, b := range secret {
		rand.Read(coefficients)
		coefficients[0] = b
		for i := range values {
			x := byte(i + 1)
			var y byte
			for j := k - 1; j >= 0; j-- { // Horner
				y = mul(y, x) ^ coefficients[j]
			}
			values[i][at] = y
		}
	}
	out := make([]string, n)
	for i, v := range values {
		out[i] = encode(share{set: encoding.EncodeToString(set), k: k, n: n, i: i + 1, value: v})
		clear(v)
	}
	return out, nil
}

type share struct {
	set     string
	k, n, i int
	value   []byte
}

const magic = "PULLNODE-SHARE-1"

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// encode writes MAGIC SET I/N/K VALUE-CHECK in groups of five, which people do not
// lose their place in.
func encode(s share) string {
	head := fmt.Sprintf("%s %s %d-%d-%d", magic, s.set, s.i, s.n, s.k)
	body := encoding.EncodeToString(append(append([]byte{}, s.value...), check(head, s.value)...))
	var groups []string
	for len(body) > 5 {
		groups, body = append(groups, body[:5]), body[5:]
	}
	return head + " " + strings.Join(append(groups, body), " ")
}

func check(head string, value []byte) []byte {
	h := sha256.New()
	h.Write([]byte(head + "\x00"))
	h.Write(value)
	return h.Sum(nil)[:checkSize]
}

// decode reads a line as people type it. Its errors never quote it.
func decode(line string) (share, error) {
	f := strings.Fields(strings.ToUpper(line))
	if len(f) < 4 || f[0] != magic {
		return share{}, fmt.Errorf("is no share: it begins with %s", magic)
	}
	s := share{set: f[1]}
	var numbers [3]int
	parts := strings.Split(f[2], "-")
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || len(parts) != 3 || n < 1 || n > MaxShares {
			return share{}, errors.New("its numbers are damaged")
		}
		numbers[i] = n
	}
	s.i, s.n, s.k = numbers[0], numbers[1], numbers[2]
	raw, err := encoding.DecodeString(strings.Join(f[3:], ""))
	if err != nil || len(raw) <= checkSize || len(parts) != 3 {
		return share{}, errors.New("is damaged: a letter is wrong or missing")
	}
	s.value = raw[:len(raw)-checkSize]
	head := fmt.Sprintf("%s %s %d-%d-%d", magic, s.set, s.i, s.n, s.k)
	if string(check(head, s.value)) != string(raw[len(s.value):]) {
		return share{}, errors.New("is damaged: its checksum is wrong")
	}
	return s, nil
}

// Combine gives the secret from at least as many shares as the threshold. Errors
// name a share by its place and never quote it.
func Combine(lines []string) ([]byte, error) {
	var all []share
	for at, l := range lines {
		s, err := decode(l)
		if err != nil {
			return nil, fmt.Errorf("share %d %w", at+1, err)
		}
		for _, o := range all {
			switch {
			case o.set != s.set || o.k != s.k || o.n != s.n || len(o.value) != len(s.value):
				return nil, fmt.Errorf("share %d is of another set (%s, the first is of %s)", at+1, s.set, o.set)
			case o.i == s.i:
				return nil, fmt.Errorf("share %d is the same as one before (number %d of %d)", at+1, s.i, s.n)
			}
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, errors.New("no share was given")
	}
	if k := all[0].k; len(all) < k {
		return nil, fmt.Errorf("%d shares are not enough, this set needs %d", len(all), k)
	}
	all = all[:all[0].k]
	xs, ys := make([]byte, len(all)), make([][]byte, len(all))
	for i, s := range all {
		xs[i], ys[i] = byte(s.i), s.value
	}
	return Interpolate(xs, ys), nil
}

// Interpolate gives what is shared: the values at 0 of the polynomials, one a byte,
// that have at xs[i] the values ys[i]. The xs are different and not 0, the ys are
// of one length. SOPS shares the data key of several key groups in this field too.
func Interpolate(xs []byte, ys [][]byte) []byte {
	secret := make([]byte, len(ys[0]))
	for i, x := range xs {
		// Lagrange's basis at 0.
		basis := byte(1)
		for j, o := range xs {
			if i != j {
				basis = mul(basis, mul(o, inverse(o^x)))
			}
		}
		for at, y := range ys[i] {
			secret[at] ^= mul(basis, y)
		}
	}
	return secret
}

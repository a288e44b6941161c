package shares

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
)

func TestField(t *testing.T) {
	if mul(0x57, 0x83) != 0xc1 || mul(0x57, 0x13) != 0xfe { // FIPS 197, 4.2
		t.Error("multiplication is not that of AES")
	}
	for a := 1; a < 256; a++ {
		if mul(byte(a), inverse(byte(a))) != 1 {
			t.Errorf("the inverse of %d is wrong", a)
		}
	}
}

func TestEveryEnoughGive(t *testing.T) {
	secret := make([]byte, 78)
	rand.Read(secret)
	all, err := Split(secret, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	for mask := range 1 << 5 {
		var some []string
		for i, s := range all {
			if mask>>i&1 == 1 {
				some = append([]string{strings.ToLower(s)}, some...) // as typed, in another order
			}
		}
		got, err := Combine(some)
		if enough := len(some) >= 3; enough != (err == nil) || enough && !bytes.Equal(got, secret) {
			t.Errorf("%05b: %v", mask, err)
		}
	}
}

// Two of three say nothing: with any third value they give any secret.
func TestTooFewSayNothing(t *testing.T) {
	seen := map[byte]bool{}
	for range 4000 {
		all, err := Split([]byte{42}, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		s, err := decode(all[0])
		if err != nil {
			t.Fatal(err)
		}
		seen[s.value[0]] = true
	}
	if len(seen) < 250 {
		t.Errorf("a share of the same secret has only %d values", len(seen))
	}
}

func TestCombineRefuses(t *testing.T) {
	a, err := Split([]byte("the secret"), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Split([]byte("the secret"), 2, 3)
	flip := func(s string, at int) string {
		c := byte('A')
		if s[at] == c {
			c = 'B'
		}
		return s[:at] + string(c) + s[at+1:]
	}
	for want, lines := range map[string][]string{
		"no share was given":         {},
		"1 shares are not enough":    {a[0]},
		"same as one before":         {a[0], a[0]},
		"is of another set":          {a[0], b[1]},
		"share 2 is damaged":         {a[0], flip(a[1], len(a[1])-8)},
		"share 1 is no share":        {"hello", a[1]},
		"its numbers are damaged":    {strings.Replace(a[0], "1-3-2", "1-3", 1), a[1]},
		"share 1 is damaged: a lett": {a[0][:len(a[0])-9] + "1", a[1]},
	} {
		_, err := Combine(lines)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	// The numbers are under the checksum too.
	if _, err := Combine([]string{strings.Replace(a[0], "1-3-2", "2-3-2", 1), a[2]}); err == nil {
		t.Error("a share under another number passes")
	}
	for _, kn := range [][2]int{{1, 3}, {4, 3}, {2, 33}, {0, 0}} {
		if _, err := Split([]byte("x"), kn[0], kn[1]); err == nil {
			t.Errorf("splits %v", kn)
		}
	}
}

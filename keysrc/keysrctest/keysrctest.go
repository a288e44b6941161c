// Package keysrctest is the suite that every kind of key source runs. A source
// that passes it can stand anywhere in a chain: it is passed over only when its
// medium is away, and what it reads does not get into a log.
package keysrctest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/tag"

	"pullnode/keysrc"
)

// Case is one kind of source with the means to do things to its medium.
type Case struct {
	// Open makes a source whose medium is present and holds Content. It is
	// called anew for every part of the suite.
	Open func(t *testing.T) keysrc.Source
	// Remove takes away the medium of the source that was opened last, as an
	// operator would: the stick is pulled, the file deleted.
	Remove func(t *testing.T)
	// Put makes the medium of the source that was opened last present, with
	// this content.
	Put func(t *testing.T, content []byte)
	// Content is what a good medium holds.
	Content []byte
	// Recipient is the public half of the key in Content.
	Recipient string
	// Secrets are texts that must not show up in any print, name or error.
	Secrets []string
}

// Run runs the suite.
func Run(t *testing.T, c Case) {
	if len(c.Secrets) == 0 {
		t.Fatal("keysrctest: the case names no secret to look for")
	}
	t.Run("present", c.present)
	t.Run("absent", c.absent)
	t.Run("damaged", c.damaged)
	t.Run("context", c.context)
	t.Run("redacted", c.redacted)
}

func (c Case) present(t *testing.T) {
	s := c.Open(t)
	c.opens(t, s)
	c.opens(t, s) // reading does not use the medium up
}

func (c Case) opens(t *testing.T, s keysrc.Source) *keysrc.Key {
	t.Helper()
	k, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatalf("a good medium: %v", err)
	}
	if k.Recipient() != c.Recipient {
		t.Fatalf("recipient is %q, want %q", k.Recipient(), c.Recipient)
	}
	to, err := recipient(c.Recipient)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "for this host")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed.Bytes()), k.Identities()...)
	if err != nil {
		t.Fatalf("the key does not open what is encrypted to its recipient: %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "for this host" {
		t.Fatalf("decrypted %q, %v", got, err)
	}
	k.Wipe()
	k.Wipe()
	if _, err := age.Decrypt(bytes.NewReader(sealed.Bytes()), k.Identities()...); err == nil {
		t.Fatal("a wiped key still decrypts")
	}
	return k
}

// recipient parses a recipient, also that of a key which lives in a device.
func recipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "age1tag1") {
		return tag.ParseRecipient(text)
	}
	to, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(to) != 1 {
		return nil, fmt.Errorf("%q is not one recipient: %w", text, err)
	}
	return to[0], nil
}

func (c Case) absent(t *testing.T) {
	s := c.Open(t)
	c.Remove(t)
	k, err := s.Fetch(t.Context())
	if !errors.Is(err, keysrc.ErrAbsent) {
		t.Fatalf("without its medium: error %v does not wrap ErrAbsent", err)
	}
	if k != nil {
		t.Fatal("without its medium: gave a key")
	}
	c.Put(t, c.Content)
	c.opens(t, s) // the same source finds a medium that came back
}

func (c Case) damaged(t *testing.T) {
	n := len(c.Content)
	bad := map[string][]byte{
		"empty":   {},
		"zeros":   make([]byte, n),
		"garbage": bytes.Repeat([]byte("\xff\x00garbage\n"), 50),
		"huge":    bytes.Repeat([]byte("# nothing but comments\n"), 1<<16),
	}
	for _, at := range []int{1, n / 4, n / 2, 3 * n / 4, n - 2} {
		bad[fmt.Sprintf("cut at %d of %d", at, n)] = c.Content[:at]
	}
	for name, content := range bad {
		t.Run(name, func(t *testing.T) {
			s := c.Open(t)
			c.Put(t, content)
			k, err := s.Fetch(t.Context())
			if err == nil || k != nil {
				t.Fatalf("gave key %v, error %v", k, err)
			}
			if errors.Is(err, keysrc.ErrAbsent) {
				t.Fatalf("%v wraps ErrAbsent: a damaged medium would be passed over", err)
			}
			c.clean(t, "error", err.Error())
		})
	}
}

func (c Case) context(t *testing.T) {
	s := c.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k, err := s.Fetch(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, keysrc.ErrAbsent) || k != nil {
		t.Fatalf("after cancel: key %v, error %v", k, err)
	}
}

func (c Case) redacted(t *testing.T) {
	s := c.Open(t)
	c.clean(t, "name", s.Name())
	c.clean(t, "source", fmt.Sprintf("%+v %#v", s, s))
	k, err := s.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	type holder struct {
		Key   *keysrc.Key
		Value keysrc.Key
		IDs   []age.Identity
		inner keysrc.Key
		ptr   *keysrc.Key
		ids   []age.Identity
	}
	h := holder{k, *k, k.Identities(), *k, k, k.Identities()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%p"} {
		c.clean(t, verb, fmt.Sprintf(verb+" "+verb+" "+verb+" "+verb, k, *k, h, &h))
	}
	for _, v := range []any{k, *k, h, map[string]any{"key": k}} {
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		c.clean(t, "json", string(out))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		c.clean(t, "slog", log.String())
	}
	if got := fmt.Sprintf("%s %v %+v", k, *k, k); strings.Count(got, "[redacted]") != 3 {
		t.Errorf("prints as %q", got)
	}
}

// clean looks for the secrets as text, and as fmt prints bytes with %v, %x, %d.
func (c Case) clean(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range c.Secrets {
		for _, form := range slices.Concat([]string{s, fmt.Sprintf("%x", s), fmt.Sprintf("%X", s)}, numbers(s)) {
			if strings.Contains(text, form) {
				t.Errorf("%s shows the secret", what)
			}
		}
	}
}

func numbers(s string) []string {
	if len(s) > 16 {
		s = s[len(s)/2 : len(s)/2+8]
	}
	list := func(verb string) string { return strings.Trim(fmt.Sprintf(verb, []byte(s)), "[]") }
	return []string{list("%d"), list("%o"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(s)), "[]byte{"), "}")}
}

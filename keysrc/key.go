package keysrc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
)

const (
	redacted = "[redacted]"
	// keyLimit bounds an identity file: a post-quantum identity is 77 bytes and
	// a rotation holds two or three, the rest is comments.
	keyLimit = 64 << 10
	maxIDs   = 64
)

var errWiped = errors.New("the key was wiped")

// Key is the host's age identity, or during a rotation several. It prints,
// logs and marshals as "[redacted]", also by value and inside other structs.
// It is safe for use by several goroutines.
type Key struct {
	// A function, because fmt does not ask the methods of a Key in an unexported
	// field of some other struct: it walks on, and with a verb like %s even
	// through pointers. Of a function it prints the address.
	ring func() *keyring
}

// held gives the ring, or nil for a nil or zero Key.
func (k *Key) held() *keyring {
	if k == nil || k.ring == nil {
		return nil
	}
	return k.ring()
}

type keyring struct {
	mu         sync.Mutex
	secret     []byte
	ids        []age.Identity
	recipients []string
	from       string
}

// ParseKey reads an age identity file: one identity a line, empty lines and
// lines that begin with "#" are skipped. X25519 and post-quantum identities are
// known. Its errors name a line and never quote it. The bytes are copied; the
// caller clears its own.
func ParseKey(raw []byte) (*Key, error) {
	if len(raw) > keyLimit {
		return nil, fmt.Errorf("identity file is over %d bytes", keyLimit)
	}
	in := &keyring{}
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if bytes.HasPrefix(line, []byte("AGE-PLUGIN-")) {
			return nil, fmt.Errorf("line %d names an age plugin, want the identity itself (AGE-SECRET-KEY-...)", n)
		}
		// Line by line, because age's own error for a whole file may quote
		// characters of the key.
		ids, err := age.ParseIdentities(bytes.NewReader(line))
		if err != nil || len(ids) != 1 {
			return nil, fmt.Errorf("line %d is not an age identity", n)
		}
		pub, err := publicHalf(ids[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		in.ids = append(in.ids, ids[0])
		in.recipients = append(in.recipients, pub)
	}
	switch {
	case len(in.ids) == 0:
		return nil, errors.New("holds no age identity")
	case len(in.ids) > maxIDs:
		return nil, fmt.Errorf("holds %d identities, at most %d are read", len(in.ids), maxIDs)
	}
	in.secret = bytes.Clone(raw)
	return &Key{func() *keyring { return in }}, nil
}

func publicHalf(id age.Identity) (string, error) {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String(), nil
	case *age.HybridIdentity:
		return id.Recipient().String(), nil
	}
	return "", errors.New("this kind of age identity has no known public half")
}

// Recipient gives the public half ("age1...") of the first identity, or "" for
// a zero Key. It stays known after Wipe.
func (k *Key) Recipient() string {
	if all := k.Recipients(); len(all) > 0 {
		return all[0]
	}
	return ""
}

// Recipients gives the public half of every identity, in the file's order.
func (k *Key) Recipients() []string {
	if in := k.held(); in != nil {
		return slices.Clone(in.recipients)
	}
	return nil
}

// From gives the name of the source that a Chain got the key from.
func (k *Key) From() string {
	if in := k.held(); in != nil {
		return in.from
	}
	return ""
}

// Identities gives the identities for age.Decrypt. They print as "[redacted]"
// too, unlike age's own, and stop working when the key is wiped.
func (k *Key) Identities() []age.Identity {
	in := k.held()
	if in == nil {
		return nil
	}
	ids := make([]age.Identity, len(in.recipients))
	for i := range ids {
		ids[i] = identity(func() (*keyring, int) { return in, i })
	}
	return ids
}

// Wipe overwrites the key's text and drops the identities; it may be called
// more than once. Copies that age made while parsing are left to the garbage
// collector: they are unreachable, not overwritten.
func (k *Key) Wipe() {
	in := k.held()
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	clear(in.secret)
	clear(in.ids)
	in.secret, in.ids = nil, nil
}

// writeTo writes the identity file's text. Only a Handoff may: it is the one
// way in which a key leaves this package.
func (k *Key) writeTo(w io.Writer) error {
	in := k.held()
	if in == nil {
		return errWiped
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.secret == nil {
		return errWiped
	}
	_, err := w.Write(in.secret)
	return err
}

// String gives "[redacted]".
func (Key) String() string { return redacted }

// GoString gives "[redacted]", for %#v.
func (Key) GoString() string { return redacted }

// Format writes "[redacted]" for every verb: %d and %x on a struct would print
// its fields and never ask String.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue gives "[redacted]" to slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON gives the JSON string "[redacted]".
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText gives "[redacted]", for encodings other than JSON.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// identity is one identity of a key. age's own types print the secret; this
// one does not, for the reason given at Key.ring, and obeys Wipe.
type identity func() (*keyring, int)

// Unwrap is age.Identity's.
func (i identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	in, n := i()
	in.mu.Lock()
	var id age.Identity
	if n < len(in.ids) {
		id = in.ids[n]
	}
	in.mu.Unlock()
	if id == nil {
		return nil, errWiped
	}
	return id.Unwrap(stanzas)
}

// Format keeps the secret out of every print, MarshalText out of every encoding.
func (identity) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (identity) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// short gives enough of a recipient to know it by: a post-quantum one has
// 1,959 characters.
func short(recipient string) string {
	if len(recipient) <= 70 {
		return recipient
	}
	return strings.ToValidUTF8(recipient[:24], "?") + "..." + strings.ToValidUTF8(recipient[len(recipient)-8:], "?")
}

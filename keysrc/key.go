package keysrc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
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

// keyring keeps the text of identities in locked memory and parses it anew for
// each use, or lends identities that live in a device.
type keyring struct {
	text       *locked // nil with a device
	mu         sync.Mutex
	device     []age.Identity // nil without one, and when wiped
	recipients []string
	from       string
}

// ParseKey reads an age identity file: one identity a line, empty lines and
// lines that begin with "#" are skipped. X25519 and post-quantum identities are
// known. Its errors name a line and never quote it. The bytes are copied; the
// caller clears its own.
func ParseKey(raw []byte) (*Key, error) {
	recipients, err := publicHalves(raw)
	if err != nil {
		return nil, err
	}
	text, err := newLocked(raw, "")
	if err != nil {
		return nil, err
	}
	return newKey(&keyring{text: text, recipients: recipients}), nil
}

// newKey makes a key that is wiped at the latest when nobody has it any more.
func newKey(in *keyring) *Key {
	if in.text != nil {
		runtime.AddCleanup(in, (*locked).free, in.text)
	}
	return &Key{func() *keyring { return in }}
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

// setFrom notes the source, also where a restart of the process finds it.
func (in *keyring) setFrom(name string) {
	in.from = name
	if in.text != nil {
		in.text.use(func(text []byte) error {
			in.text.put(text, name)
			return nil
		})
	}
}

// Memory says what the key is held in; "" when it lives in a device.
func (k *Key) Memory() Memory {
	if in := k.held(); in != nil && in.text != nil {
		return in.text.kind
	}
	return ""
}

// Wipe overwrites the key's text and drops what lives in a device; it may be
// called more than once.
func (k *Key) Wipe() {
	in := k.held()
	if in == nil {
		return
	}
	if in.text != nil {
		in.text.free()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.device = nil
}

// writeTo writes the identity file's text. Only a Handoff and a KeyServer may:
// there is no other way in which a key leaves this package.
func (k *Key) writeTo(w io.Writer) error {
	in := k.held()
	if in == nil {
		return errWiped
	}
	if in.text == nil {
		return fmt.Errorf("the key of %s cannot leave its device; set keys.handoff to \"plugin\"", in.from)
	}
	return in.text.use(func(text []byte) error {
		_, err := w.Write(text)
		return err
	})
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

// short gives enough of a recipient to know it by: a post-quantum one has
// 1,959 characters.
func short(recipient string) string {
	if len(recipient) <= 70 {
		return recipient
	}
	return strings.ToValidUTF8(recipient[:24], "?") + "..." + strings.ToValidUTF8(recipient[len(recipient)-8:], "?")
}

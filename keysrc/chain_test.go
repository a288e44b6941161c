package keysrc_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pullnode/keysrc"
)

// fake is a source with a function for a medium.
type fake struct {
	name  string
	fetch func(context.Context) (*keysrc.Key, error)
}

func (f fake) Name() string                                   { return f.name }
func (f fake) Fetch(ctx context.Context) (*keysrc.Key, error) { return f.fetch(ctx) }
func gives(k *keysrc.Key, err error) func(context.Context) (*keysrc.Key, error) {
	return func(context.Context) (*keysrc.Key, error) { return k, err }
}

func newKey(t *testing.T) *keysrc.Key {
	t.Helper()
	k, err := keysrc.ParseKey([]byte(newIdentity(t).String()))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestChain(t *testing.T) {
	absent := fake{"usb:A", gives(nil, errors.Join(errors.New("not plugged in"), keysrc.ErrAbsent))}
	broken := fake{"usb:B", gives(nil, errors.New("read error"))}
	empty := fake{"usb:C", gives(nil, nil)}
	key := newKey(t)
	good := fake{"file:/k", gives(key, nil)}
	asked := false
	never := fake{"never", func(context.Context) (*keysrc.Key, error) { asked = true; return newKey(t), nil }}

	for name, c := range map[string]struct {
		chain  keysrc.Chain
		absent bool
		want   string // in the error; "" is success
	}{
		"first absent":  {keysrc.Chain{Sources: []keysrc.Source{absent, good, never}}, false, ""},
		"pinned":        {keysrc.Chain{Sources: []keysrc.Source{good, never}, Recipient: key.Recipient()}, false, ""},
		"broken stops":  {keysrc.Chain{Sources: []keysrc.Source{absent, broken, never}}, false, "usb:B: read error"},
		"nothing stops": {keysrc.Chain{Sources: []keysrc.Source{empty, never}}, false, "usb:C: gave neither"},
		"all absent":    {keysrc.Chain{Sources: []keysrc.Source{absent, absent}}, true, "usb:A: not plugged in\nabsent; usb:A"},
		"none at all":   {keysrc.Chain{}, true, "no source is configured"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.chain.Fetch(t.Context())
			if asked {
				t.Fatal("asked a source after the search had ended")
			}
			if c.want == "" {
				if err != nil || got.Recipient() != key.Recipient() || got.From() != "file:/k" {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			wantErr(t, err, c.want)
			var none *keysrc.NoKeyError
			if errors.Is(err, keysrc.ErrAbsent) != c.absent || errors.As(err, &none) != c.absent {
				t.Errorf("absent is %v, want %v", !c.absent, c.absent)
			}
			if c.absent && len(none.Tried) != len(c.chain.Sources) {
				t.Errorf("remembers %d tries of %d", len(none.Tried), len(c.chain.Sources))
			}
		})
	}
}

func TestWrongKeyNeverFallsThrough(t *testing.T) {
	swapped, right := newKey(t), newKey(t)
	pin := right.Recipient()
	asked := false
	c := keysrc.Chain{Recipient: pin, Sources: []keysrc.Source{
		fake{"usb:A", gives(swapped, nil)},
		fake{"file:/k", func(context.Context) (*keysrc.Key, error) { asked = true; return right, nil }},
	}}
	k, err := c.Fetch(t.Context())
	if k != nil || !errors.Is(err, keysrc.ErrWrongKey) || errors.Is(err, keysrc.ErrAbsent) {
		t.Fatalf("got %v, %v", k, err)
	}
	if asked {
		t.Error("asked the next source")
	}
	wantErr(t, err, "usb:A: wrong key: its public half is "+swapped.Recipient()+", the settings pin "+pin)
	if _, err := swapped.Identities()[0].Unwrap(nil); err == nil || !strings.Contains(err.Error(), "wiped") {
		t.Errorf("the wrong key is still held: %v", err)
	}
}

// During a rotation a medium holds both identities, in either order.
func TestPinnedKeyMayBeOneOfSeveral(t *testing.T) {
	a, b := newIdentity(t), newIdentity(t)
	for _, pin := range []string{a.Recipient().String(), b.Recipient().String()} {
		k, err := keysrc.ParseKey([]byte(a.String() + "\n" + b.String() + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		c := keysrc.Chain{Recipient: pin, Sources: []keysrc.Source{fake{"f", gives(k, nil)}}}
		if got, err := c.Fetch(t.Context()); err != nil || len(got.Recipients()) != 2 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

func TestChainStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := keysrc.Chain{Sources: []keysrc.Source{
		fake{"a", func(context.Context) (*keysrc.Key, error) { cancel(); return nil, keysrc.ErrAbsent }},
		fake{"b", func(context.Context) (*keysrc.Key, error) { t.Error("asked"); return nil, nil }},
	}}
	if _, err := c.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestSettings(t *testing.T) {
	id := newIdentity(t)
	for _, c := range []struct{ settings, want string }{
		{`{"sources":[{"type":"file","path":"/a"},{"type":"ssh-host-key"},{"type":"credential","name":"k"}],"recipient":"` + id.Recipient().String() + `"}`, ""},
		{`{"sources":[{"type":"file","pth":"/a"}]}`, `sources[0]: unknown setting "pth", did you mean "path"?`},
		{`{"sources":[{"type":"ssh-host-key"},{"type":"fil"}]}`, `sources[1]: unknown type "fil", did you mean "file"?`},
		{`{"sources":[{"type":"file"}]}`, "path: is missing"},
		{`{"sources":[{"type":"file","path":"a"}]}`, "is not absolute"},
		{`{"sources":[{"type":"credential","name":"../x"}]}`, "is not the name of a credential"},
		{`{"sources":[{"type":"credential"}]}`, "name: is missing"},
		{`{"recipient":"age1x"}`, "is not one age recipient"},
		{`{"recipient":"` + id.String() + `"}`, "is a private key"},
	} {
		var s keysrc.Settings
		if err := json.Unmarshal([]byte(c.settings), &s); err != nil {
			t.Fatal(err)
		}
		_, err := s.Open()
		if c.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantErr(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), id.String()) {
			t.Errorf("the error for a private key prints it")
		}
	}
}

func TestKindsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "docs", "keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range keysrc.Kinds.Names() {
		if !regexp.MustCompile("(?m)^##+ .*`" + regexp.QuoteMeta(kind) + "`").Match(raw) {
			t.Errorf("docs/keys.md has no heading that names the source `%s`", kind)
		}
	}
}

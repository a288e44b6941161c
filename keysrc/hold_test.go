package keysrc_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"pullnode/keysrc"
)

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// The key goes when nobody needs it, and not while a try may still want it back.
func TestAgentDropsTheKey(t *testing.T) {
	id := newIdentity(t)
	path, busy := filepath.Join(t.TempDir(), "k"), filepath.Join(t.TempDir(), "hold")
	write(t, path, []byte(id.String()), 0o600)
	write(t, busy, nil, 0o600)
	chain := keysrc.Chain{Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
	r := startAgentWith(t, &keysrc.Agent{Keys: chain, Hold: keysrc.HoldActivation, Idle: 50 * time.Millisecond, Busy: keysrc.FileExists(busy)})
	holding := func() keysrc.Holding {
		s, err := r.client.Holding(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := holding(); s.Held || s.Hold != keysrc.HoldActivation || !s.Busy {
		t.Errorf("before anybody asked: %+v", s)
	}
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	os.Remove(path) // the source is gone in the middle of the try
	time.Sleep(500 * time.Millisecond)
	s := holding()
	if !s.Held || s.Source != "file:"+path || s.Recipients[0] != id.Recipient().String() || s.Memory == "" || s.Restarts {
		t.Errorf("while a try goes on: %+v", s)
	}
	os.Remove(busy)
	eventually(t, "the key is dropped", func() bool { return !holding().Held })
	if _, _, err := r.client.Preflight(t.Context(), nil); !errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("after the drop: %v", err)
	}
	if s := holding(); s.Problem != "no key: file:"+path+": absent: no such file" {
		t.Errorf("tells the problem %q", s.Problem)
	}
}

func TestAgentHoldsForUptime(t *testing.T) {
	key := newKey(t)
	r := startAgentWith(t, &keysrc.Agent{Keys: fetchFunc(gives(key, nil)), Hold: keysrc.HoldUptime, Idle: time.Millisecond})
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if s, err := r.client.Holding(t.Context()); err != nil || !s.Held {
		t.Errorf("%+v, %v", s, err)
	}
}

// stanzasFor gives the header of a file that is encrypted for these.
func stanzasFor(t *testing.T, to ...age.Recipient) (all []*age.Stanza) {
	t.Helper()
	for _, r := range to {
		s, err := r.Wrap(make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s...)
	}
	return all
}

package keysrc_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"pullnode/keysrc"
)

// lateRig is an agent whose file is not there yet; arrived counts.
func lateRig(t *testing.T, how keysrc.OnMissing) (r rig, path string, id string, arrived chan struct{}) {
	t.Helper()
	key := newIdentity(t)
	path, id = filepath.Join(t.TempDir(), "k"), key.String()
	arrived = make(chan struct{}, 8)
	chain := keysrc.Chain{Recipient: key.Recipient().String(), Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
	r = startAgentWith(t, &keysrc.Agent{Keys: chain, OnMissing: how, Every: 10 * time.Millisecond, Arrived: func(context.Context) { arrived <- struct{}{} }})
	return r, path, id, arrived
}

// At boot a program asked in vain; the key comes later, after a wrong one.
func TestKeyThatComesLate(t *testing.T) {
	r, path, id, arrived := lateRig(t, keysrc.MissingDegraded)
	other := newIdentity(t)
	if _, _, err := r.client.Preflight(t.Context(), nil); !errors.Is(err, keysrc.ErrAbsent) {
		t.Fatal(err)
	}
	if s, err := r.client.Holding(t.Context()); err != nil || s.Missing {
		t.Errorf("nobody is without a secret for a preflight: %+v, %v", s, err)
	}
	if _, err := r.client.Unwrap(t.Context(), stanzasFor(t, other.Recipient())); !errors.Is(err, keysrc.ErrAbsent) {
		t.Fatal(err)
	}
	if s, err := r.client.Holding(t.Context()); err != nil || !s.Missing {
		t.Errorf("%+v, %v", s, err)
	}
	put := func(text string) {
		write(t, path+".new", []byte(text), 0o600)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put(other.String())
	eventually(t, "the wrong key is an alarm", func() bool { return strings.Contains(r.log.String(), "wrong key") })
	select {
	case <-arrived:
		t.Error("a wrong key has come")
	default:
	}
	put(id)
	<-arrived
	s, err := r.client.Holding(t.Context())
	if err != nil || s.Missing || !s.Held || s.Problem != "" {
		t.Errorf("%+v, %v", s, err)
	}
	time.Sleep(100 * time.Millisecond)
	if len(arrived) > 0 {
		t.Error("told twice")
	}
}

func TestUnwrapWaitsForTheKey(t *testing.T) {
	r, path, id, _ := lateRig(t, keysrc.MissingWait)
	k := parse(t, id)
	to, err := age.ParseX25519Recipient(k.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { _, err := r.client.Unwrap(context.Background(), stanzasFor(t, to)); got <- err }()
	eventually(t, "it waits", func() bool { s, err := r.client.Holding(t.Context()); return err == nil && s.Missing })
	// A preflight says at once that there is no key.
	if _, _, err := r.client.Preflight(t.Context(), nil); !errors.Is(err, keysrc.ErrAbsent) {
		t.Error(err)
	}
	write(t, path, []byte(id), 0o600)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

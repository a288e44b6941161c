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
	eventually(t, "the wrong key is an alarm", func() bool { return strings.Contains(r.log.String(), "level=ERROR msg=\"alarm: a key source is there") })
	if log := r.log.String(); !strings.Contains(log, "wrong key") || strings.Count(log, "level=ERROR") != 1 {
		t.Errorf("the alarm names no reason or comes more than once: %s", log)
	}
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

// A program asked in vain, and then somebody else got the key first: who waits is
// told all the same.
func TestArrivalIsToldWhoeverGotTheKey(t *testing.T) {
	key := newIdentity(t)
	path := filepath.Join(t.TempDir(), "k")
	chain := keysrc.Chain{Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
	arrived := make(chan struct{}, 8)
	r := startAgentWith(t, &keysrc.Agent{Keys: chain, Every: time.Second, Arrived: func(context.Context) { arrived <- struct{}{} }})
	if err := r.client.Await(t.Context()); !errors.Is(err, keysrc.ErrAbsent) {
		t.Fatal(err)
	}
	write(t, path, []byte(key.String()), 0o600)
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
	if err := r.client.Await(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := r.client.Holding(t.Context()); err != nil || s.Missing {
		t.Errorf("%+v, %v", s, err)
	}
}

// A wrong key from the first moment: nothing else is asked, and the right one is
// taken when it is there.
func TestWrongKeyIsPutRight(t *testing.T) {
	r, path, id, arrived := lateRig(t, keysrc.MissingDegraded)
	write(t, path, []byte(newIdentity(t).String()), 0o600)
	if err := r.client.Await(t.Context()); !errors.Is(err, keysrc.ErrWrongKey) {
		t.Fatal(err)
	}
	write(t, path, []byte(id), 0o600)
	<-arrived
	if err := r.client.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who says no is asked less and less often; who is away, as often as before.
func TestPauseBetweenSearches(t *testing.T) {
	const every = 5 * time.Second
	pause := every
	for range 20 {
		pause = keysrc.Slower(pause, every, keysrc.ErrDenied)
	}
	if pause != 5*time.Minute {
		t.Errorf("after 20 times no: %v", pause)
	}
	if first := keysrc.Slower(every, every, keysrc.ErrWrongKey); first != 2*every {
		t.Errorf("after a wrong key: %v", first)
	}
	if got := keysrc.Slower(pause, every, keysrc.ErrTemporary); got != every {
		t.Errorf("after a server that is down: %v", got)
	}
}

// The boot waits through everything, says each reason once, and ends with the key
// or when it is told to.
func TestAwaitBoot(t *testing.T) {
	answers := []error{keysrc.ErrAbsent, keysrc.ErrAbsent, keysrc.ErrWrongKey, nil}
	var said []string
	asked := 0
	await := func(context.Context) error { asked++; return answers[asked-1] }
	if err := keysrc.AwaitBoot(t.Context(), time.Millisecond, await, func(err error) { said = append(said, err.Error()) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(said, ", "); got != "absent, wrong key" || asked != 4 {
		t.Errorf("said %s after %d questions", got, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := keysrc.AwaitBoot(ctx, time.Hour, func(context.Context) error { return keysrc.ErrAbsent }, func(error) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

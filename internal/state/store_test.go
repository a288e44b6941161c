package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pullnode/internal/state"
)

func conf(t *testing.T) state.Config {
	root := t.TempDir()
	return state.Config{Dir: filepath.Join(root, "var"), FloorPath: filepath.Join(root, "nix", "floor.json")}
}

func open(t *testing.T, c state.Config) *state.Store {
	t.Helper()
	s, err := state.Open(c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func update(t *testing.T, s *state.Store, f func(*state.State)) {
	t.Helper()
	if err := s.Update(func(st *state.State) error { f(st); return nil }); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// trust gives the n-th T of a test.
func trust(n int) state.Trusted {
	return state.Trusted{Commit: fmt.Sprintf("%040d", n), Digest: fmt.Sprintf("%064d", n),
		Policy: map[string][]byte{"allowed_signers": fmt.Appendf(nil, "signer %d\n", n)}, Signer: "ops"}
}

func TestEverythingSurvivesAReopen(t *testing.T) {
	c := conf(t)
	now := time.Now().UTC().Truncate(time.Second)
	until := now.Add(time.Hour)
	s := open(t, c)
	if got := s.State(); !reflect.DeepEqual(got, state.State{}) || s.Alerts() != nil {
		t.Fatalf("a fresh store holds %+v, alerts %q", got, s.Alerts())
	}
	want := state.State{
		Request: 7, Trusted: trust(1), KnownTip: "tip",
		Verdict:  state.Verdict{Name: "PENDING", Commit: "tip", Text: "1 of 2", Hint: "git commit", When: now},
		Deployed: state.Deployed{Commit: "c", Digest: "d", Toplevel: "/nix/store/x", Generation: 4, When: now},
		Attempt: &state.Attempt{ID: "1", Phase: "trying", Candidate: "/nix/store/y", BootID: "b", Deadline: 9,
			Baseline: []byte(`{"failed":[]}`), Started: now},
		Origins:      map[string]state.Origin{"/nix/store/x": {Commit: "c", Digest: "d"}},
		Quarantine:   map[string]state.Quarantined{"/nix/store/z": {Reason: "unhealthy", When: now, Tries: 2}},
		Inconclusive: map[string]state.Inconclusive{"/nix/store/w": {Reason: "lifeline", Next: until, Tries: 1}},
		Hold:         &state.Hold{Why: "rollback", Since: now, Toplevel: "/nix/store/x"},
		Suspended:    true, SuspendedUntil: &until, Stores: 1, LastReport: []byte(`{"class":"moved"}`),
		Failure: state.Failure{Class: "timeout", Count: 3, Next: until},
	}
	// Every field of State is set above, so a new one without a JSON name fails.
	for i, v := 0, reflect.ValueOf(want); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Schema" && name != "Counter" {
			t.Fatalf("the test does not set %s", name)
		}
	}
	update(t, s, func(st *state.State) { *st = want })
	s.Close()
	got := open(t, c).State()
	want.Schema, want.Counter = state.Schema, 1
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if peeked, _, err := state.Peek(c); err != nil || !reflect.DeepEqual(peeked, want) {
		t.Fatalf("Peek gives %+v, %v", peeked, err)
	}
}

func TestAFailedUpdateChangesNothing(t *testing.T) {
	s := open(t, conf(t))
	update(t, s, func(st *state.State) { st.Request = 5; st.Quarantine = map[string]state.Quarantined{"a": {}} })
	before := s.State()
	boom := errors.New("boom")
	if err := s.Update(func(st *state.State) error { delete(st.Quarantine, "a"); return boom }); !errors.Is(err, boom) {
		t.Fatalf("Update: %v", err)
	}
	if err := s.Update(func(st *state.State) error { st.Request = 4; return nil }); err == nil {
		t.Fatal("the request number may fall")
	}
	if got := s.State(); !reflect.DeepEqual(got, before) {
		t.Fatalf("got %+v, want %+v", got, before)
	}
}

func TestOnlyChangesAreWritten(t *testing.T) {
	s := open(t, conf(t))
	update(t, s, func(st *state.State) { st.KnownTip = "a" })
	update(t, s, func(st *state.State) { st.KnownTip = "a" })
	if n := s.State().Counter; n != 1 {
		t.Fatalf("an unchanged state was written: counter %d", n)
	}
}

func TestASecondStoreIsToldWhoHoldsTheLock(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	_, err := state.Open(c)
	if !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("Open: %v", err)
	}
	s.Close()
	open(t, c)
}

func TestTheLoopCounterCountsJournalWritesOnly(t *testing.T) {
	s := open(t, conf(t))
	for n := range state.LoopLimit + 1 {
		if s.State().Looping() {
			t.Fatalf("looping after %d", n)
		}
		update(t, s, func(st *state.State) { st.Attempt = &state.Attempt{ID: "1", Phase: fmt.Sprint(n)} })
		update(t, s, func(st *state.State) { st.Request++ })
	}
	if !s.State().Looping() {
		t.Fatalf("not looping after %d stores", s.State().Stores)
	}
	update(t, s, func(st *state.State) { st.Attempt = nil })
	if s.State().Stores != 0 {
		t.Fatal("idle does not clear the counter")
	}
}

func TestTimesFarAheadAreDropped(t *testing.T) {
	c := conf(t)
	now := time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC)
	c.Now = func() time.Time { return now }
	s := open(t, c)
	until := now.Add(24 * time.Hour)
	update(t, s, func(st *state.State) {
		st.SuspendedUntil, st.Failure.Next, st.Deployed.When = &until, until, now
		st.Inconclusive = map[string]state.Inconclusive{"t": {Next: until, When: now}}
	})
	far := now.Add(17 * 24 * time.Hour)
	if err := s.Update(func(st *state.State) error { st.SuspendedUntil = &far; return nil }); err == nil {
		t.Fatal("a suspension that a restart would drop is accepted")
	}
	s.Close()

	now = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC) // the clock is not set
	got, _, err := state.Peek(c)
	if err != nil || got.SuspendedUntil == nil || got.Deployed.When.IsZero() || !got.Failure.Next.IsZero() {
		t.Fatalf("unset clock: %+v, %v", got, err)
	}
	now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) // it had jumped
	got, alerts, err := state.Peek(c)
	if err != nil || got.SuspendedUntil != nil || !got.Deployed.When.IsZero() || !got.Failure.Next.IsZero() ||
		!got.Inconclusive["t"].Next.IsZero() || !got.Inconclusive["t"].When.IsZero() || len(alerts) != 5 {
		t.Fatalf("%+v, %q, %v", got, alerts, err)
	}
}

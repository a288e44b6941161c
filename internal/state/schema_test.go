package state_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"pullnode/internal/state"
)

// TestOldAgentReadsWhatTheNewOneLeft goes through one try on one directory: the
// old agent starts it, the new one goes on with it and is reverted, the old one
// is back.
func TestOldAgentReadsWhatTheNewOneLeft(t *testing.T) {
	oldAgent := conf(t)
	newAgent := state.Later(oldAgent)

	s := open(t, oldAgent)
	update(t, s, func(st *state.State) {
		st.Trusted = trust(1)
		st.Attempt = &state.Attempt{ID: "7", Phase: "switching", Candidate: "/nix/store/new"}
	})
	s.Close()

	s = open(t, newAgent)
	if s.WriteSchema() != 1 {
		t.Fatalf("the new agent writes schema %d before it has committed", s.WriteSchema())
	}
	update(t, s, func(st *state.State) { st.Attempt.Phase = "reverting"; st.Trusted = trust(2) })
	s.Close()

	s = open(t, oldAgent)
	if got := s.State(); got.Attempt.Phase != "reverting" || !got.Trusted.Equal(trust(2)) || len(s.Alerts()) != 0 {
		t.Fatalf("%+v, alerts %q", got, s.Alerts())
	}
	update(t, s, func(st *state.State) { st.Attempt = nil })
	s.Close()

	// The second try commits, and only then the schema moves.
	s = open(t, newAgent)
	must(t, s.Upgrade())
	if s.WriteSchema() != 2 {
		t.Fatalf("schema %d after the commit", s.WriteSchema())
	}
	update(t, s, func(st *state.State) { st.Attempt = &state.Attempt{ID: "8", Phase: "switching"} })
	s.Close()
	if s := open(t, newAgent); s.WriteSchema() != 2 || s.State().Attempt.ID != "8" {
		t.Fatalf("schema %d, %+v", s.WriteSchema(), s.State())
	} else {
		s.Close()
	}

	// Somebody boots an old generation: it must touch nothing.
	before := contents(t, oldAgent)
	s, err := state.Open(oldAgent)
	var newer *state.NewerSchemaError
	if !errors.Is(err, state.ErrNewerSchema) || !errors.As(err, &newer) || newer.Found != 2 || newer.Known != 1 {
		t.Fatalf("Open: %v", err)
	}
	if err := s.Update(func(st *state.State) error { st.KnownTip = "x"; return nil }); !errors.Is(err, state.ErrNewerSchema) {
		t.Fatalf("Update: %v", err)
	}
	if err := s.Append(state.Entry{Result: state.ResultKept}); !errors.Is(err, state.ErrNewerSchema) {
		t.Fatalf("Append: %v", err)
	}
	if err := s.Upgrade(); !errors.Is(err, state.ErrNewerSchema) {
		t.Fatalf("Upgrade: %v", err)
	}
	s.Close()
	for i, raw := range contents(t, oldAgent) {
		if !bytes.Equal(raw, before[i]) {
			t.Fatalf("%s was changed", paths(oldAgent)[i])
		}
	}
}

func contents(t *testing.T, c state.Config) (all [][]byte) {
	for _, path := range paths(c) {
		raw, err := os.ReadFile(path)
		must(t, err)
		all = append(all, raw)
	}
	return all
}

func TestDamageIsNotTakenForANewerSchema(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	update(t, s, func(st *state.State) { st.Trusted = trust(1) })
	s.Close()
	p := paths(c)[0]
	raw, err := os.ReadFile(p)
	must(t, err)
	must(t, os.WriteFile(p, bytes.Replace(raw, []byte(`"schema":1`), []byte(`"schema":9`), 1), 0o600))
	if s := open(t, c); !s.State().Trusted.Equal(trust(1)) || len(s.Alerts()) == 0 {
		t.Fatalf("%+v, %q", s.State(), s.Alerts())
	}
}

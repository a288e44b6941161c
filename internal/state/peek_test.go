package state_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"pullnode/internal/state"
)

func TestPeekFloor(t *testing.T) {
	c := conf(t)
	if _, err := state.PeekFloor(c.FloorPath); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a floor that is not there: %v", err)
	}
	s := open(t, c)
	update(t, s, func(st *state.State) { st.Trusted = trust(1) })
	if got, err := state.PeekFloor(c.FloorPath); err != nil || !got.Equal(trust(1)) {
		t.Fatalf("%+v, %v", got, err)
	}
	s.Close()
	s = open(t, state.Later(c))
	must(t, s.Upgrade())
	s.Close()
	if _, err := state.PeekFloor(c.FloorPath); !errors.Is(err, state.ErrNewerSchema) {
		t.Fatalf("a newer floor: %v", err)
	}
	must(t, os.Truncate(c.FloorPath, 20))
	if _, err := state.PeekFloor(c.FloorPath); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a damaged floor: %v", err)
	}
}

func TestHolder(t *testing.T) {
	c := conf(t)
	if held, err := state.Held(c.Dir); held || err != nil {
		t.Fatalf("no directory: %t, %v", held, err)
	}
	s := open(t, c)
	if held, err := state.Held(c.Dir); !held || err != nil {
		t.Fatalf("while it is open: %t, %v", held, err)
	}
	s.Close()
	if held, err := state.Held(c.Dir); held || err != nil {
		t.Fatalf("after it was closed: %t, %v", held, err)
	}
}

package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pullnode/internal/state"
)

// FuzzLoad puts any bytes into the three files: loading never panics, and
// whatever loads can be written and loads again with the same T.
func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	c := state.Config{Dir: dir, FloorPath: filepath.Join(dir, "floor.json")}
	s, err := state.Open(c)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Update(func(st *state.State) error { st.Trusted = trust(1); return nil }); err != nil {
		f.Fatal(err)
	}
	s.Close()
	var seed [3][]byte
	for i, p := range paths(c) {
		if seed[i], err = os.ReadFile(p); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(seed[0], seed[1], seed[2])
	f.Add(seed[2], seed[0], seed[1])
	f.Add([]byte(`{"schema":1,"counter":18446744073709551615,"body":null}`), []byte("{}"), []byte("null"))
	f.Fuzz(func(t *testing.T, a, b, fl []byte) {
		c := conf(t)
		must(t, os.MkdirAll(c.Dir, 0o700))
		must(t, os.MkdirAll(filepath.Dir(c.FloorPath), 0o700))
		for i, raw := range [][]byte{a, b, fl} {
			must(t, os.WriteFile(paths(c)[i], raw, 0o600))
		}
		s, err := state.Open(c)
		if err != nil {
			if !errors.Is(err, state.ErrUnreadable) && !errors.Is(err, state.ErrNewerSchema) {
				t.Fatalf("Open: %v", err)
			}
			s.Close()
			return
		}
		want := s.State().Trusted
		update(t, s, func(st *state.State) { st.KnownTip = "fuzz" })
		s.Close()
		if got := open(t, c).State(); !got.Trusted.Equal(want) || got.KnownTip != "fuzz" {
			t.Fatalf("%+v", got)
		}
	})
}

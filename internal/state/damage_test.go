package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pullnode/internal/state"
)

func paths(c state.Config) []string {
	return []string{filepath.Join(c.Dir, "state.json"), filepath.Join(c.Dir, "state.json.prev"), c.FloorPath}
}

// harms are the ways in which a file can be found after a crash or a bad disk.
var harms = map[string]func(t *testing.T, path string){
	"whole":   func(*testing.T, string) {},
	"missing": func(t *testing.T, path string) { must(t, os.Remove(path)) },
	"empty":   func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
	"torn":    func(t *testing.T, path string) { must(t, os.Truncate(path, 150)) },
	"flipped": func(t *testing.T, path string) {
		raw, err := os.ReadFile(path)
		must(t, err)
		raw[len(raw)/2] ^= 1
		must(t, os.WriteFile(path, raw, 0o600))
	},
	"symlink": func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("/etc/passwd", path)) },
	"fifo":    func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, mkfifo(path)) },
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryCombinationOfDamage: whichever files are harmed, the youngest that is
// left says what is trusted, and only when none is left the node must stop.
func TestEveryCombinationOfDamage(t *testing.T) {
	for a, harmState := range harms {
		for b, harmPrev := range harms {
			for f, harmFloor := range harms {
				t.Run(a+"/"+b+"/"+f, func(t *testing.T) {
					c := conf(t)
					s := open(t, c)
					update(t, s, func(st *state.State) { st.Request = 1; st.Trusted = trust(1) })
					update(t, s, func(st *state.State) { st.Request = 2; st.Trusted = trust(2) })
					update(t, s, func(st *state.State) { st.Request = 3 }) // state 3, prev 2, floor 2
					s.Close()
					p := paths(c)
					harmState(t, p[0])
					harmPrev(t, p[1])
					harmFloor(t, p[2])

					lost := a != "whole" && b != "whole" && f != "whole"
					never := a == "missing" && b == "missing" && f == "missing"
					s, err := state.Open(c)
					if lost && !never {
						if !errors.Is(err, state.ErrUnreadable) {
							t.Fatalf("Open: %v", err)
						}
						stuck(t, c, s)
						return
					}
					must(t, err)
					got := s.State()
					switch {
					case never:
						if got.Trusted.Commit != "" {
							t.Fatal("trust out of nothing")
						}
					case !got.Trusted.Equal(trust(2)):
						t.Fatalf("T is %q, want the second", got.Trusted.Commit)
					case got.Request < 3:
						t.Fatalf("request fell to %d", got.Request)
					}
					damaged := 0
					for i, how := range []string{a, b, f} {
						if how != "whole" && how != "missing" {
							damaged++
							if _, err := os.Lstat(p[i] + ".broken.1"); err != nil {
								t.Fatalf("the damaged file is gone: %v", err)
							}
						}
					}
					if len(s.Alerts()) < damaged {
						t.Fatalf("%d damaged, alerts %q", damaged, s.Alerts())
					}
					update(t, s, func(st *state.State) { st.KnownTip = "x" })
					want := s.State()
					s.Close()
					s = open(t, c)
					if got := s.State(); got.Counter != want.Counter || !got.Trusted.Equal(want.Trusted) || len(s.Alerts()) != 0 {
						t.Fatalf("not healed: %+v, alerts %q", got, s.Alerts())
					}
				})
			}
		}
	}
}

// stuck checks that lost state stays lost over a restart, whose damaged files
// were moved away by the first start, until somebody starts over.
func stuck(t *testing.T, c state.Config, s *state.Store) {
	t.Helper()
	if err := s.Update(func(st *state.State) error { st.KnownTip = "x"; return nil }); !errors.Is(err, state.ErrUnreadable) {
		t.Fatalf("Update: %v", err)
	}
	must(t, s.Append(state.Entry{Result: state.ResultFailed}))
	s.Close()
	s, err := state.Open(c)
	if !errors.Is(err, state.ErrUnreadable) {
		t.Fatalf("second Open: %v", err)
	}
	fails := errors.New("not now")
	if err := s.StartOver(func(*state.State) error { return fails }); !errors.Is(err, fails) || !errors.Is(s.Blocked(), state.ErrUnreadable) {
		t.Fatalf("StartOver: %v, blocked %v", err, s.Blocked())
	}
	must(t, s.StartOver(func(st *state.State) error { st.Trusted = trust(9); return nil }))
	if s.Blocked() != nil || s.StartOver(func(*state.State) error { return nil }) == nil {
		t.Fatalf("after starting over: blocked %v", s.Blocked())
	}
	update(t, s, func(st *state.State) { st.Request++ })
	s.Close()
	if got := open(t, c).State(); !got.Trusted.Equal(trust(9)) {
		t.Fatalf("after starting over T is %q", got.Trusted.Commit)
	}
}

func TestBrokenFilesAreNumberedAndKept(t *testing.T) {
	c := conf(t)
	for n := 1; n <= 3; n++ {
		s := open(t, c)
		update(t, s, func(st *state.State) { st.Trusted = trust(n) })
		s.Close()
		must(t, os.WriteFile(paths(c)[0], fmt.Appendf(nil, "junk %d", n), 0o600))
	}
	open(t, c)
	for n := 1; n <= 3; n++ {
		raw, err := os.ReadFile(fmt.Sprintf("%s.broken.%d", paths(c)[0], n))
		if err != nil || string(raw) != fmt.Sprintf("junk %d", n) {
			t.Fatalf("broken.%d: %q, %v", n, raw, err)
		}
	}
}

func TestAWipedVarCannotBeRolledBackFromABackup(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	update(t, s, func(st *state.State) { st.Trusted = trust(1) })
	for range 40 { // the backup's counter is far above the floor's
		update(t, s, func(st *state.State) { st.Request++ })
	}
	backup, err := os.ReadFile(paths(c)[0])
	must(t, err)
	s.Close()
	must(t, os.RemoveAll(c.Dir))
	s = open(t, c)
	if !s.State().Trusted.Equal(trust(1)) || len(s.Alerts()) == 0 {
		t.Fatalf("the floor did not take over: %+v, %q", s.State(), s.Alerts())
	}
	if s.State().Request <= 40 {
		t.Fatalf("request number fell to %d", s.State().Request)
	}
	update(t, s, func(st *state.State) { st.Trusted = trust(2) })
	s.Close()
	must(t, os.WriteFile(paths(c)[0], backup, 0o600))
	must(t, os.Remove(paths(c)[1]))
	if got := open(t, c).State(); !got.Trusted.Equal(trust(2)) {
		t.Fatal("an old backup moved T below the floor")
	}
}

func TestAnOldFloorDoesNotMoveTBack(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	update(t, s, func(st *state.State) { st.Trusted = trust(1) })
	old, err := os.ReadFile(c.FloorPath)
	must(t, err)
	update(t, s, func(st *state.State) { st.Trusted = trust(2) })
	s.Close()
	must(t, os.WriteFile(c.FloorPath, old, 0o600))
	s = open(t, c)
	if !s.State().Trusted.Equal(trust(2)) {
		t.Fatal("T went back to the floor")
	}
	update(t, s, func(st *state.State) { st.KnownTip = "x" }) // repairs the floor
	s.Close()
	must(t, os.RemoveAll(c.Dir))
	if got := open(t, c).State(); !got.Trusted.Equal(trust(2)) {
		t.Fatal("the floor was not repaired")
	}
}

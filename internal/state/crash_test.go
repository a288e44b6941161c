package state_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pullnode/internal/state"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

var errKilled = errors.New("killed")

// TestKilledAtEveryWrite: a writer that dies before, in the middle of or after
// any write leaves a store that loads the old state or the new one, and never a
// T that is neither.
func TestKilledAtEveryWrite(t *testing.T) {
	deaths := map[string]func(path string, data []byte, perm os.FileMode){
		"before": func(string, []byte, os.FileMode) {},
		"torn":   func(path string, data []byte, perm os.FileMode) { _ = os.WriteFile(path, data[:len(data)/2], perm) },
		"empty":  func(path string, _ []byte, perm os.FileMode) { _ = os.WriteFile(path, nil, perm) },
		"after":  func(path string, data []byte, perm os.FileMode) { _ = state.RealWrite(path, data, perm) },
	}
	for name, die := range deaths {
		for updates := range 3 { // a first write ever, a second one, a later one
			for step := range 3 { // prev, floor, state
				t.Run(fmt.Sprint(name, "/", updates, "/", step), func(t *testing.T) {
					c := conf(t)
					if updates > 0 {
						s := open(t, c)
						for n := range updates {
							update(t, s, func(st *state.State) { st.Trusted = trust(n + 1); st.Request = uint64(n + 1) })
						}
						s.Close()
					}
					left, killed := step, c
					killed.SetWrite(func(path string, data []byte, perm os.FileMode) error {
						if left--; left == -1 {
							die(path, data, perm)
						}
						if left < 0 {
							return errKilled
						}
						return state.RealWrite(path, data, perm)
					})
					s := open(t, killed)
					err := s.Update(func(st *state.State) error { st.Trusted = trust(9); st.Request = 9; return nil })
					if !errors.Is(err, errKilled) {
						t.Fatalf("Update: %v", err)
					}
					live := s.State().Trusted
					s.Close()

					s, err = state.Open(c)
					if updates == 0 && step == 0 && (name == "torn" || name == "empty") {
						// The only file there ever was: nothing can be known.
						if !errors.Is(err, state.ErrUnreadable) {
							t.Fatalf("Open: %v", err)
						}
						return
					}
					must(t, err)
					got := s.State()
					oldT := updates == 0 && got.Trusted.Equal(state.Trusted{}) || updates > 0 && got.Trusted.Equal(trust(updates))
					if !oldT && !got.Trusted.Equal(trust(9)) {
						t.Fatalf("T is %q", got.Trusted.Commit)
					}
					if live.Equal(trust(9)) && oldT {
						t.Fatal("the living store had moved T, the reopened one has not")
					}
					if got.Request == 9 && oldT {
						t.Fatal("new state with the old T")
					}
					update(t, s, func(st *state.State) { st.KnownTip = "x" })
					s.Close()
					if after := open(t, c).State(); after.KnownTip != "x" || !after.Trusted.Equal(got.Trusted) {
						t.Fatalf("after the next write: %+v", after)
					}
				})
			}
		}
	}
}

// TestTheFloorIsNeverLeftBehind: when the floor has the new T and the state file
// could not be written, the same process goes on with the new T.
func TestTheFloorIsNeverLeftBehind(t *testing.T) {
	c := conf(t)
	fail, failing := false, c
	failing.SetWrite(func(path string, data []byte, perm os.FileMode) error {
		if fail && filepath.Base(path) == "state.json" {
			return errKilled
		}
		return state.RealWrite(path, data, perm)
	})
	s := open(t, failing)
	update(t, s, func(st *state.State) { st.Trusted = trust(1) })
	fail = true
	if err := s.Update(func(st *state.State) error { st.Trusted = trust(2); return nil }); !errors.Is(err, errKilled) {
		t.Fatalf("Update: %v", err)
	}
	fail = false
	update(t, s, func(st *state.State) { st.KnownTip = "x" })
	s.Close()
	if got := open(t, c).State(); !got.Trusted.Equal(trust(2)) || got.KnownTip != "x" {
		t.Fatalf("%+v", got)
	}
}

// TestKill9 kills a real writer at points of its own choosing and checks that
// everything it acknowledged is there.
func TestKill9(t *testing.T) {
	if root := os.Getenv("STATE_TEST_WRITER"); root != "" {
		s := open(t, state.Config{Dir: filepath.Join(root, "var"), FloorPath: filepath.Join(root, "nix", "floor.json")})
		for n := s.State().Request + 1; ; n++ {
			update(t, s, func(st *state.State) { st.Request = n; st.Trusted = trust(int(n)) })
			must(t, s.Append(state.Entry{Result: state.ResultKept, Generation: int(n)}))
			fmt.Printf("ack %d\n", n)
		}
	}
	c := conf(t)
	root := filepath.Dir(c.Dir)
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), "STATE_TEST_WRITER="+root)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		acked, lines := 0, bufio.NewScanner(out)
		for n := 0; n <= round && lines.Scan(); n++ {
			acked, err = strconv.Atoi(strings.TrimPrefix(lines.Text(), "ack "))
			must(t, err)
		}
		must(t, cmd.Process.Kill())
		for lines.Scan() { // written before the kill
			if n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "ack ")); err == nil {
				acked = n
			}
		}
		_ = cmd.Wait()
		if acked == 0 {
			t.Fatal("the writer acknowledged nothing")
		}
		s := open(t, c)
		got := s.State()
		if int(got.Request) < acked || len(s.Alerts()) != 0 {
			t.Fatalf("round %d: %d was acknowledged, %d is there, alerts %q", round, acked, got.Request, s.Alerts())
		}
		if n := got.Trusted.Commit; n != trust(int(got.Request)).Commit && n != trust(int(got.Request)+1).Commit {
			t.Fatalf("round %d: request %d with T %s", round, got.Request, n)
		}
		h, err := s.History(1)
		if err != nil || len(h) != 1 || h[0].Generation < acked {
			t.Fatalf("round %d: history %+v, %v", round, h, err)
		}
		s.Close()
		left, _ := filepath.Glob(filepath.Join(c.Dir, ".*.tmp-*"))
		if len(left) != 0 {
			t.Fatalf("left behind: %q", left)
		}
	}
}

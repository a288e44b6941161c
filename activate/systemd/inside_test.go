package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/activate"
)

// inside skips where there is no systemd that may be played with. The lab runs
// this test binary in its machines, with PULLNODE_LAB=inside.
func inside(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("PULLNODE_LAB") != "inside" {
		t.Skip("runs inside the lab's machines: PULLNODE_LAB=inside")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	if err := os.MkdirAll("/run/pullnode", 0o755); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func newSystem(t *testing.T) *System {
	t.Helper()
	s, err := New(Settings{
		Paths:     Paths{NixEnv: "true", Nix: "/", Store: "/usr", Profile: "/usr/profile", Loader: t.TempDir()},
		SwitchMax: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// toplevel makes a system whose switch is script; $1 is the action.
func toplevel(t *testing.T, script string) activate.StorePath {
	t.Helper()
	// Not t.TempDir: the guard of one test may outlive it.
	dir, err := os.MkdirTemp("/run", "top-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/bin/switch-to-configuration", []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return activate.StorePath(dir)
}

var serial = time.Now().Unix()

func newID() string { serial++; return fmt.Sprint("t", serial) }

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 600 {
		if f() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("never happened: %s", what)
}

func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %v: %v\n%s", args, err, out)
	}
}

func ended(ctx context.Context, t *testing.T, s *System, id string) activate.Result {
	t.Helper()
	var r activate.Result
	await(t, "end of "+id, func() bool {
		var err error
		if r, err = s.Result(ctx, id); err != nil {
			t.Fatal(err)
		}
		return r.Done || r.Lost
	})
	return r
}

func TestInsideSwitchResults(t *testing.T) {
	ctx := inside(t)
	for _, c := range []struct {
		name, script string
		max          time.Duration
		want         activate.Result
	}{
		{"well", "exit 0", 0, activate.Result{Done: true}},
		{"units failed", "exit 4", 0, activate.Result{Done: true, Exit: 4}},
		{"killed", "kill -9 $$", 0, activate.Result{Done: true, Signal: "KILL"}},
		{"hangs", "sleep 1000", time.Second, activate.Result{Done: true, Signal: "timeout"}},
		{"hangs and lies", "trap 'exit 0' TERM; sleep 1000 & wait", time.Second, activate.Result{Done: true, Signal: "timeout"}},
		{"action", `test "$1" = test`, 0, activate.Result{Done: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, id := newSystem(t), newID()
			if c.max > 0 {
				s.SwitchMax = c.max
			}
			p := toplevel(t, c.script)
			for range 2 { // twice is no error
				if err := s.StartTest(ctx, id, p); err != nil {
					t.Fatal(err)
				}
			}
			if r := ended(ctx, t, s, id); r != c.want {
				t.Errorf("got %+v, want %+v", r, c.want)
			}
			if err := s.StartTest(ctx, id, p); err != nil {
				t.Error("start after the end:", err)
			}
			st, err := os.Stat(resultFile(s.Paths.Run, id))
			if err != nil || st.Mode().Perm() != 0o600 {
				t.Error("result file:", st, err)
			}
		})
	}
	s := newSystem(t)
	if r, err := s.Result(ctx, "neverran"); err != nil || !r.Lost {
		t.Errorf("a run that never was: %+v, %v", r, err)
	}
	id := newID()
	if err := s.StartTest(ctx, id, "/run/no-such-toplevel"); err != nil {
		t.Fatal(err)
	}
	if r := ended(ctx, t, s, id); r.Exit != 203 {
		t.Errorf("a switch that is not there: %+v", r)
	}
}

func TestInsideStopTest(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	if err := s.StartTest(ctx, id, toplevel(t, "sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Result(ctx, id); err != nil || r.Done || r.Lost {
		t.Fatalf("while it runs: %+v, %v", r, err)
	}
	if err := s.StopTest(ctx, id); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Result(ctx, id); err != nil || !r.Done || r.Signal != "TERM" {
		t.Errorf("after the stop: %+v, %v", r, err)
	}
	if err := s.StopTest(ctx, id); err != nil {
		t.Error("stop what does not run:", err)
	}
}

// The result of a switch is known through any number of restarts of PID 1.
func TestInsideReexec(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	p := toplevel(t, "systemctl daemon-reexec; sleep 1; systemctl daemon-reload; sleep 1; exit 4")
	if err := s.StartTest(ctx, id, p); err != nil {
		t.Fatal(err)
	}
	if r := ended(ctx, t, s, id); r != (activate.Result{Done: true, Exit: 4}) {
		t.Errorf("got %+v", r)
	}
}

func TestInsideBoot(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	s.Paths.Nix, s.Paths.Store, s.Paths.Profile = "/", "/usr", "/usr/profile"
	tmp := filepath.Join(s.Paths.Loader, "loader.tmp")
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(tmp, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := s.Boot(ctx, id, toplevel(t, `test ! -e `+tmp+` && test "$1" = boot`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Boot(ctx, id, toplevel(t, "exit 1")); err == nil || !strings.Contains(err.Error(), "exited 1") {
		t.Errorf("a boot loader that fails: %v", err)
	}
	if err := s.Boot(ctx, id, toplevel(t, "exit 0")); err != nil {
		t.Error("the same id again:", err)
	}
}

package systemd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/activate"
)

// The guard stops the switch, then reverts, at its time, whatever reloads come.
func TestInsideGuardReverts(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	mark := filepath.Join(t.TempDir(), "mark")
	bad := toplevel(t, "sleep 1000")
	old := toplevel(t, "systemctl is-active "+switchUnit(id)+" > "+mark+".sw; echo $1 > "+mark+".new; mv "+mark+".new "+mark)
	g := activate.Guard{ID: id, After: 6 * time.Second, Old: old}
	began := time.Now()
	for range 2 {
		if err := s.Arm(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.StartTest(ctx, id, bad); err != nil {
		t.Fatal(err)
	}
	// Without end: a timer that each reload starts anew would never fire.
	await(t, "the revert", func() bool {
		systemctl(t, "daemon-reload")
		systemctl(t, "daemon-reexec")
		time.Sleep(500 * time.Millisecond)
		_, err := os.Stat(mark)
		return err == nil
	})
	t.Logf("the guard, armed for %v, was done after %v", g.After, time.Since(began))
	if b, err := os.ReadFile(mark); err != nil || string(b) != "test\n" {
		t.Errorf("revert ran %q, %v", b, err)
	}
	if b, _ := os.ReadFile(mark + ".sw"); strings.TrimSpace(string(b)) != "inactive" {
		t.Errorf("the switch was %q during the revert", b)
	}
	if d, err := s.Decide(id, activate.Confirm); err != nil || d != activate.Revert {
		t.Errorf("a late confirm got %q, %v", d, err)
	}
	if err := s.Disarm(ctx, id); err != nil {
		t.Error(err)
	}
}

// A guard that comes after the confirm leaves the switch alone.
func TestInsideGuardLoses(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := s.Decide(id, activate.Confirm); err != nil {
		t.Fatal(err)
	}
	if err := s.StartTest(ctx, id, toplevel(t, "sleep 1000")); err != nil {
		t.Fatal(err)
	}
	if err := s.Arm(ctx, activate.Guard{ID: id, After: time.Second, Old: toplevel(t, "touch "+mark)}); err != nil {
		t.Fatal(err)
	}
	var e Ended
	await(t, "the guard", func() (ok bool) {
		var err error
		e, err = readRecord(s.Paths.Run, "guard-"+id)
		return !errors.Is(err, ErrNoResult)
	})
	if e.Result != "exec-condition" {
		t.Errorf("the guard ended with %+v", e)
	}
	if r, err := s.Result(ctx, id); err != nil || r.Done || r.Lost {
		t.Errorf("the switch: %+v, %v", r, err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the guard reverted after a confirm")
	}
	if err := s.StopTest(ctx, id); err != nil {
		t.Error(err)
	}
}

func TestInsideDisarm(t *testing.T) {
	ctx := inside(t)
	s, id := newSystem(t), newID()
	if err := s.Arm(ctx, activate.Guard{ID: id, After: time.Hour, Old: toplevel(t, "")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Disarm(ctx, id); err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{guardTimer(id), guardService(id)} {
		st, err := s.bus.state(ctx, u)
		if err != nil || st.runs() {
			t.Errorf("%s: %+v, %v", u, st, err)
		}
	}
}

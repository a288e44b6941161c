package systemd

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"pullnode/activate"
)

func newRunner(t *testing.T) *Runner {
	t.Helper()
	r, err := NewRunner(RunnerSettings{Path: "/usr/bin:/bin", MemoryMax: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shell(script string) activate.Job {
	return activate.Job{Name: "eval", Argv: []string{"sh", "-c", script}, Timeout: 20 * time.Second}
}

func TestInsideJob(t *testing.T) {
	ctx := inside(t)
	r := newRunner(t)
	res, err := r.Run(ctx, shell(`
		echo "$HOME"; test "$(id -u)" != 0 || echo root
		echo x > "$HOME/kept" && stat -c %a "$HOME/kept"
		cat /var/lib/pullnode/units/* /run/pullnode/* 2>/dev/null
		cat /proc/net/dev | grep -v lo: | tail -n +3
		echo loud >&2; exit 7`))
	if err != nil {
		t.Fatal(err)
	}
	if want := "/var/cache/pullnode-eval\n600\n"; string(res.Out) != want {
		t.Errorf("out is %q, want %q", res.Out, want)
	}
	if string(res.Err) != "loud\n" || res.Exit != 7 || res.Reason != "" {
		t.Errorf("got %+v, err %q", res, res.Err)
	}
	again, err := r.Run(ctx, shell(`cat "$HOME/kept"; echo '$HOME' "%n"; echo $NIX_REMOTE`))
	if err != nil || string(again.Out) != "x\n$HOME %n\ndaemon\n" {
		t.Errorf("the second job: %q, %q, %v", again.Out, again.Err, err)
	}
	left, err := os.ReadDir(r.Units)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInsideJobOutputIsRootsAlone(t *testing.T) {
	ctx := inside(t)
	r := newRunner(t)
	unit, err := r.launch(ctx, activate.Job{Name: "eval", Argv: []string{"/bin/sh", "-c", "echo a; sleep 1000"}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop(unit)
	var st os.FileInfo
	await(t, "output", func() bool { st, err = os.Stat(r.file(unit, ".out")); return err == nil && st.Size() > 0 })
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", st.Mode())
	}
	if uid := owner(st); uid != 0 {
		t.Errorf("owner is %d", uid)
	}
	// A new agent begins to count anew and meets the job of the old one.
	fresh := newRunner(t)
	res, err := fresh.Run(ctx, shell("echo mine"))
	if err != nil || string(res.Out) != "mine\n" {
		t.Errorf("beside an old job: %+v, %v", res, err)
	}
}

func TestInsideJobEnds(t *testing.T) {
	ctx := inside(t)
	r := newRunner(t)
	for _, c := range []struct{ script, reason string }{
		{"sleep 1000", "timeout"},
		{"trap 'exit 0' TERM; sleep 1000 & wait", "timeout"},
		{"kill -9 $$", "signal"},
	} {
		j := shell(c.script)
		j.Timeout = 2 * time.Second
		res, err := r.Run(ctx, j)
		if err != nil || res.Reason != c.reason {
			t.Errorf("%q: %+v, %v", c.script, res, err)
		}
	}
	res, err := r.Run(ctx, shell("head -c 200000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end >&2"))
	if err != nil || len(res.Out) != maxOut || len(res.Err) != maxErr || !strings.HasSuffix(string(res.Err), "end\n") {
		t.Errorf("caps: %d, %d, %v", len(res.Out), len(res.Err), err)
	}
	if _, err := r.Run(ctx, activate.Job{Name: "eval", Argv: []string{"no-such-program"}, Timeout: time.Second}); err == nil {
		t.Error("a program that is not there ran")
	}
}

func TestInsideJobCancelled(t *testing.T) {
	ctx := inside(t)
	r := newRunner(t)
	short, cancel := context.WithCancel(ctx)
	go func() { time.Sleep(time.Second); cancel() }()
	if _, err := r.Run(short, shell("sleep 1000")); err == nil {
		t.Fatal("no error")
	}
	st, err := r.bus.state(ctx, "pullnode-eval-1.service")
	if err != nil || st.runs() {
		t.Errorf("the job after the cancel: %+v, %v", st, err)
	}
}

func TestInsideUnits(t *testing.T) {
	ctx := inside(t)
	systemctl(t, "reset-failed")
	u := NewUnits(UnitsSettings{})
	if st, err := u.Unit(ctx, "no-such-thing.service"); err != nil || st.Load != "not-found" {
		t.Errorf("a unit that is not there: %+v, %v", st, err)
	}
	if st, err := u.Unit(ctx, "systemd-journald.service"); err != nil || st.Active != "active" || st.Result != "success" {
		t.Errorf("journald: %+v, %v", st, err)
	}
	if err := os.WriteFile("/run/systemd/system/flap.service", []byte("[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=200ms\nStartLimitBurst=3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
	systemctl(t, "start", "flap.service")
	await(t, "failure", func() bool {
		names, err := u.Failed(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(names) == 1 && names[0] == "flap.service"
	})
	if st, err := u.Unit(ctx, "flap.service"); err != nil || st.NRestarts == 0 || st.Active != "failed" {
		t.Errorf("flap: %+v, %v", st, err)
	}
	systemctl(t, "reset-failed")
}

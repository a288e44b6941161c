package systemd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"pullnode/activate"
)

// fake is a systemd whose answers are written down beforehand; the last one
// stays.
type fake struct {
	bus
	answers []any // state or error
	starts  int
	onStart func() error
}

func (f *fake) state(context.Context, string) (state, error) {
	a := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	if err, ok := a.(error); ok {
		return state{}, err
	}
	return a.(state), nil
}

func (f *fake) start(context.Context, string, []dbus.Property, ...dbus.PropertyCollection) error {
	f.starts++
	if f.onStart != nil {
		return f.onStart()
	}
	return nil
}

var (
	gone       = state{load: "not-found", active: "inactive"}
	queued     = state{load: "loaded", active: "inactive", job: true}
	running    = state{load: "loaded", active: "active"}
	errNoReply = errors.New("message recipient disconnected")
)

func faked(t *testing.T, f *fake) *System {
	t.Helper()
	s := Settings{Paths: Paths{Run: t.TempDir()}, SwitchMax: time.Minute, Patience: time.Minute}
	return &System{Settings: s, bus: f, pause: time.Microsecond}
}

func TestResultUnknownIsNotGone(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		answers []any
		want    activate.Result
	}{
		"nobody answers, then it runs": {[]any{errNoReply, errNoReply, running}, activate.Result{}},
		"nobody answers, then gone":    {[]any{errNoReply, gone}, activate.Result{Lost: true}},
		"about to start":               {[]any{queued}, activate.Result{}},
		"gone":                         {[]any{gone}, activate.Result{Lost: true}},
	} {
		if r, err := faked(t, &fake{answers: c.answers}).Result(ctx, "1"); err != nil || r != c.want {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	s := faked(t, &fake{answers: []any{errNoReply}})
	s.Patience = 1
	if r, err := s.Result(ctx, "1"); !errors.Is(err, errNoReply) || r.Lost || r.Done {
		t.Errorf("nobody ever answers: %+v, %v", r, err)
	}
}

func TestResultFromRecord(t *testing.T) {
	for record, want := range map[string]activate.Result{
		"success exited 0\n":       {Done: true},
		"exit-code exited 4\n":     {Done: true, Exit: 4},
		"signal killed KILL\n":     {Done: true, Signal: "KILL"},
		"core-dump dumped ABRT\n":  {Done: true, Signal: "ABRT"},
		"timeout exited 0\n":       {Done: true, Signal: "timeout"},
		"resources - -\n":          {Lost: true},
		"exit-code exited fish \n": {Lost: true},
	} {
		s := faked(t, &fake{answers: []any{errNoReply}}) // a record needs no systemd
		if err := os.WriteFile(resultFile(s.Paths.Run, "1"), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Result(context.Background(), "1"); err != nil || r != want {
			t.Errorf("%q: %+v, %v", record, r, err)
		}
	}
	s := faked(t, &fake{answers: []any{gone}})
	if err := os.Symlink("/etc/hostname", resultFile(s.Paths.Run, "1")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Result(context.Background(), "1"); err == nil {
		t.Errorf("a link for a record: %+v", r)
	}
}

// A start whose answer is lost must not be made twice when it did happen.
func TestStartWithLostAnswer(t *testing.T) {
	f := &fake{answers: []any{gone, running}, onStart: func() error { return errNoReply }}
	if err := faked(t, f).StartTest(context.Background(), "1", "/nix/store/x"); err != nil || f.starts != 1 {
		t.Errorf("%d starts, %v", f.starts, err)
	}
	bad := godbus.Error{Name: "org.freedesktop.DBus.Error.PropertyReadOnly"}
	f = &fake{answers: []any{gone}, onStart: func() error { return bad }}
	if err := faked(t, f).StartTest(context.Background(), "1", "/nix/store/x"); err == nil || f.starts != 1 {
		t.Errorf("a refused property: %d starts, %v", f.starts, err)
	}
}

func TestRecordAndDecide(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "4"}
	if err := Record(dir, "1", func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	if e, err := readRecord(dir, "1"); err != nil || e != (Ended{"exit-code", "exited", "4"}) {
		t.Errorf("%+v, %v", e, err)
	}
	if err := Record(dir, "../1", func(k string) string { return env[k] }); err == nil {
		t.Error("an id with a slash was taken")
	}
	if err := Record(dir, "2", func(string) string { return "" }); err == nil {
		t.Error("a record without a result was written")
	}
	if exit, err := DecideVerb(dir, "1", activate.Revert); exit != 0 || err != nil {
		t.Error(exit, err)
	}
	if exit, err := DecideVerb(dir, "1", activate.Confirm); exit != 1 || err != nil {
		t.Error(exit, err)
	}
	// Where nothing can be written nothing was confirmed: the guard reverts.
	if exit, err := DecideVerb(filepath.Join(dir, "none"), "1", activate.Revert); exit != 0 || err == nil {
		t.Error(exit, err)
	}
	if exit, err := DecideVerb(filepath.Join(dir, "none"), "1", activate.Confirm); exit == 0 || err == nil {
		t.Error(exit, err)
	}
}

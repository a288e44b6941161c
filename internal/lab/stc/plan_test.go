package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const dir = "/etc/systemd/system"

// planned plans from unit texts, name -> old and new; units with a text in the
// old system run unless off says otherwise.
func planned(t *testing.T, old, new map[string]string, more ...state) *plan {
	t.Helper()
	units := map[string]state{}
	for n := range old {
		units[n] = state{Name: n, Fragment: dir + "/" + n, Active: "active"}
	}
	for _, s := range more {
		units[s.Name] = s
	}
	find := func(m map[string]string) func(string) (unit, error) {
		return func(n string) (unit, error) {
			text, ok := m[n]
			if !ok {
				return nil, nil
			}
			return parsed(text), nil
		}
	}
	p := &planner{dir: dir, old: find(old), new: find(new), targets: func(n string) bool { return n == "multi-user.target" }}
	to := newPlan()
	if err := p.make(units, to); err != nil {
		t.Fatal(err)
	}
	to.settle(func(n string) bool { return p.has(n) || p.targets(n) })
	return to
}

func (p *plan) String() string {
	return strings.Join([]string{strings.Join(p.stop.sorted(), " "), strings.Join(p.reload.sorted(), " "),
		strings.Join(p.restart.sorted(), " "), strings.Join(p.start.sorted(), " ")}, "|")
}

func TestPlan(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		name     string
		old, new m
		more     []state
		want     string // stop|reload|restart|start
	}{
		{"nothing", m{"a.service": "[Service]\nA=1\n"}, m{"a.service": "[Service]\nA=1\n"}, nil, "|||"},
		{"changed", m{"a.service": "[Service]\nA=1\n"}, m{"a.service": "[Service]\nA=2\n"}, nil, "a.service|||a.service"},
		{"removed", m{"a.service": "[Service]\nA=1\n"}, m{}, nil, "a.service|||"},
		{"removed, stays", m{"a.service": "[Unit]\nX-StopOnRemoval=false\n"}, m{}, nil, "|||"},
		{"no stop", m{"a.service": ""}, m{"a.service": "[Service]\nX-StopIfChanged=false\n"}, nil, "||a.service|"},
		{"no restart", m{"a.service": ""}, m{"a.service": "[Service]\nX-RestartIfChanged=false\n"}, nil, "|||"},
		{"the new unit's word counts", m{"a.service": "[Service]\nX-RestartIfChanged=false\n"}, m{"a.service": "[Service]\nA=1\n"}, nil, "a.service|||a.service"},
		{"reload", m{"a.service": ""}, m{"a.service": "[Service]\nX-ReloadIfChanged=true\n"}, nil, "|a.service||"},
		{"manual", m{"a.service": ""}, m{"a.service": "[Unit]\nRefuseManualStop=true\n"}, nil, "|||"},
		{"socket", m{"a.service": "", "a.socket": ""}, m{"a.service": "[Service]\nA=1\n", "a.socket": ""}, nil, "a.service a.socket|||a.socket"},
		{"target", m{}, m{}, []state{{Name: "multi-user.target", Fragment: "/lib/systemd/system/multi-user.target", Active: "active"}}, "|||multi-user.target"},
		{"target that is off", m{}, m{}, []state{{Name: "multi-user.target", Active: "inactive"}}, "|||"},
		{"transient", m{"a.service": ""}, m{}, []state{{Name: "a.service", Fragment: "/run/systemd/transient/a.service", Active: "active"}}, "|||"},
		{"the distribution's", m{"a.service": ""}, m{}, []state{{Name: "a.service", Fragment: "/usr/lib/systemd/system/a.service", Active: "active"}}, "|||"},
		{"stopped", m{"a.service": ""}, m{}, []state{{Name: "a.service", Fragment: dir + "/a.service", Active: "inactive"}}, "|||"},
		{"failed", m{"a.service": ""}, m{"a.service": "[Service]\nA=1\n"}, []state{{Name: "a.service", Fragment: dir + "/a.service", Active: "failed"}}, "|||"},
		{"starting", m{"a.service": ""}, m{}, []state{{Name: "a.service", Fragment: dir + "/a.service", Active: "activating"}}, "a.service|||"},
		{"slice", m{"a.slice": ""}, m{"a.slice": "[Slice]\nA=1\n"}, nil, "|||"},
	} {
		if got := planned(t, c.old, c.new, c.more...).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What an interrupted run left is done by the next, as far as it still exists
// there.
func TestLists(t *testing.T) {
	d := listDir(t.TempDir())
	p := newPlan()
	p.start.add("a.service", "gone.service")
	p.restart.add("b.service", "a.service")
	p.reload.add("c.service", "b.service")
	if err := d.save(p); err != nil {
		t.Fatal(err)
	}
	next := newPlan()
	next.start.add("d.service")
	if err := d.load(next); err != nil {
		t.Fatal(err)
	}
	next.settle(func(n string) bool { return n != "gone.service" })
	if got, want := next.String(), "|c.service|b.service|a.service d.service"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, l := range []string{"start", "restart", "reload", "reload"} {
		if err := d.done(l); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(string(d) + "/*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := d.load(newPlan()); err != nil {
		t.Error("no lists:", err)
	}
}

func TestParseUnits(t *testing.T) {
	units := parseUnits([]byte("Id=a.service\nActiveState=active\nSubState=running\nExecMainStatus=0\nFragmentPath=/x\n\n" +
		"ExecMainStatus=1\nSubState=auto-restart\nActiveState=activating\nId=b.service\n\nSubState=\n"))
	if len(units) != 2 || units["a.service"] != (state{"a.service", "/x", "active", "running", "0"}) {
		t.Fatalf("%+v", units)
	}
	if units["a.service"].failed() || !units["b.service"].failed() {
		t.Error("which failed:", units)
	}
	if (state{Active: "activating", Sub: "auto-restart", MainStatus: "0"}).failed() {
		t.Error("a service that ended well and waits for its next start has failed")
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil || err.(*exit).status != exitBusy {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	unlock, err = lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestVerbs(t *testing.T) {
	for _, args := range [][]string{nil, {"/top"}, {"/top", "rollback"}, {"/top", "test", "more"}} {
		if err := run(args); err == nil || !strings.HasPrefix(err.Error(), "usage: ") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if !slices.ContainsFunc([]string{"test"}, known) || known("") {
		t.Error("verbs")
	}
}

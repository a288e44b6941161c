package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/agent"
)

// until waits for a status that the loop writes by itself.
func (h *host) until(what string, ok func(agent.Status) bool) {
	h.t.Helper()
	var s agent.Status
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s = agent.Status{}
		raw, err := os.ReadFile(agent.StatusPath(filepath.Join(h.root, "run")))
		if err == nil && json.Unmarshal(raw, &s) == nil && ok(s) {
			return
		}
	}
	h.t.Fatalf("never %s; last %+v", what, s)
}

func (h *host) ask(r agent.Request) {
	h.t.Helper()
	if err := agent.Put(filepath.Join(h.root, "run"), r); err != nil {
		h.t.Fatal(err)
	}
}

// A build that takes for ever keeps nobody from being heard, and status says what
// goes on meanwhile.
func TestRequestsAreHeardDuringABuild(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	flake, _ := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	h.r.Write("flake.nix", strings.Replace(string(flake), "args = [ ./build.sh ]", `args = [ "-c" "sleep 3600" ]`, 1))
	h.r.Commit("alice", "a build for ever")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	beats := make(chan struct{}, 1000)
	go func() { ended <- h.a.Run(ctx, func() { beats <- struct{}{} }) }()

	h.until("building", func(s agent.Status) bool { return strings.HasPrefix(s.Phase, "building") })
	h.ask(agent.Request{Verb: "suspend"})
	h.until("suspended", func(s agent.Status) bool { return s.Sync == "suspended" && s.Phase == "" })
	h.ask(agent.Request{Verb: "resume"})
	h.until("building again", func(s agent.Status) bool { return strings.HasPrefix(s.Phase, "building") })

	h.ask(agent.Request{Verb: "rollback"})
	h.until("told that there is nothing to go back to", func(s agent.Status) bool { return strings.Contains(s.Request, "no generation") })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(beats) == 0 {
		t.Error("the watchdog was never told")
	}
}

// A switch by hand is seen without a restart and without a commit, and going back
// by hand ends the hold.
func TestDriftIsSeen(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	link := filepath.Join(h.root, "run", "current-system")
	one, _ := os.Readlink(link)
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	two, _ := os.Readlink(link)
	for _, c := range []struct{ to, sync, page string }{{one, "held", "one"}, {two, "in-sync", "two"}} {
		os.Remove(link)
		if err := os.Symlink(c.to, link); err != nil {
			t.Fatal(err)
		}
		h.want(h.cycle(), c.sync, "healthy", c.page)
	}
}

// What was built is rooted until it is of no use any more, also without a profile
// that leads to it.
func TestRootsHoldWhatRuns(t *testing.T) {
	h := newHost(t, map[string]any{"operation": "test"})
	gc := func() {
		cmd := exec.Command("nix-store", "--gc")
		cmd.Env = append(os.Environ(), ownStore(h.root)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	link := filepath.Join(h.root, "run", "current-system")
	var last string
	for _, page := range []string{"two", "three"} {
		h.page(page + "\n")
		h.r.Commit("alice", page)
		s := h.cycle()
		gc()
		h.want(s, "in-sync", "healthy", page)
		runs, _ := os.Readlink(link)
		if _, err := os.Stat(last); last != "" && err == nil {
			t.Errorf("%s is kept for ever", last)
		}
		list, err := os.ReadDir(filepath.Join(h.root, "nix", "var", "nix", "gcroots", "pullnode"))
		if err != nil || len(list) != 1 || list[0].Name() != filepath.Base(runs) {
			t.Errorf("roots %v, %v; want that of %s", list, err, runs)
		}
		last = runs
	}
}

// A system that no switch leads to, as NixOS' inhibitors tell it, is not tried, not
// tried again, and not held against anything: the operator boots it when a reboot is
// fine, and then it is what was deployed.
func TestNeedsReboot(t *testing.T) {
	h := newHost(t, nil)
	build, err := os.ReadFile(filepath.Join(h.r.Dir, "build.sh"))
	if err != nil {
		t.Fatal(err)
	}
	h.r.Write("build.sh", string(build)+"cp \"$site/inhibitors\" \"$out/switch-inhibitors\"\n")
	h.r.Write("site/inhibitors", `{"dbus-implementation":"dbus"}`)
	h.r.Commit("alice", "with inhibitors")
	h.want(h.cycle(), "in-sync", "healthy", "one")
	link := filepath.Join(h.root, "run", "current-system")
	before, _ := os.Readlink(link)

	h.r.Write("site/inhibitors", `{"dbus-implementation":"broker"}`)
	h.page("two\n")
	h.r.Commit("alice", "another bus")
	for range 2 {
		s := h.cycle()
		h.want(s, "held", "healthy", "one")
		if why := strings.Join(s.Why, " "); !strings.Contains(why, `by a reboot: it changes dbus-implementation ("broker", was "dbus")`) {
			t.Errorf("why: %q", why)
		}
		if !strings.Contains(s.Hint, "switch-to-configuration boot && reboot") {
			t.Errorf("hint: %q", s.Hint)
		}
	}
	list, err := h.a.Store.History(10)
	if err != nil {
		t.Fatal(err)
	}
	last := list[len(list)-1]
	if last.Result != "needs-reboot" || list[len(list)-2].Result == "needs-reboot" {
		t.Errorf("the history: %+v", list)
	}
	if now, _ := os.Readlink(link); now != before {
		t.Errorf("%s runs", now)
	}
	if q := h.a.Store.State(); len(q.Quarantine) > 0 || len(q.Inconclusive) > 0 || q.Attempt != nil {
		t.Errorf("held against it: %+v", q)
	}

	// What the hint says, and the reboot.
	profile := filepath.Join(h.root, "profiles", "system")
	for _, l := range []string{link, profile} {
		os.Remove(l)
		if err := os.Symlink(last.Toplevel, l); err != nil {
			t.Fatal(err)
		}
	}
	h.restart()
	s := h.cycle()
	h.want(s, "in-sync", "healthy", "two")
	if s.Gen != 0 {
		t.Errorf("generation %d is another system's", s.Gen)
	}
}

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/agent"
	"pullnode/internal/gitrig"
	"pullnode/internal/state"
)

// node is a machine that runs the installed units and follows a repository that
// this process serves. Its settings are part of its systems, as on NixOS, so that
// a switch changes them and restarts what reads them.
type node struct {
	t        *testing.T
	ctx      context.Context
	h        *Host
	r        *gitrig.Repo
	web      *server
	settings map[string]any
	gen      int
	now      string // the commit that must run
}

// newNode gives a machine that has deployed its first commit.
func newNode(t *testing.T, release string) *node {
	t.Helper()
	needLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 35*time.Minute)
	t.Cleanup(cancel)
	bin, err := GoBinary(ctx, "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, ctx: ctx, r: gitrig.New(t)}
	n.r.Signers("alice")
	intro := n.r.Commit("alice", "introduce")
	_, n.h = boot(t, Options{Release: release, Name: "lab", Network: true, Files: map[string]string{"/usr/bin/pullnode": bin}})
	n.explain()
	n.web = serve(t, n.h.Gateway, n.r.Handler())
	n.settings = nodeSettings(n.web.url("/repo"), n.r.Introduction(intro, "alice"))
	if err := n.h.Install(ctx, build(ctx, t, n.h, n.system(Config{Gen: "zero"}))); err != nil {
		t.Fatal(err)
	}
	if err := n.h.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	n.deployed(n.push(Config{}, "the first"))
	return n
}

// nodeSettings are those of a node that polls every second.
func nodeSettings(url, introduction string) map[string]any {
	return map[string]any{"hostName": "lab", "url": url, "introduction": introduction,
		"schedule": map[string]any{"interval": "1s", "jitter": "1ms"},
		"health":   map[string]any{"settle": "200ms", "window": "10s", "interval": "300ms", "successes": 2},
		"lifeline": map[string]any{"window": "6s"}, "build": map[string]any{"switchTimeout": "30s"}}
}

// explain has the evidence printed when the test fails.
func (n *node) explain() {
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Log(n.evidence())
		}
	})
}

// sub runs one case on the machine; what one leaves broken the next cannot use.
func (n *node) sub(name string, f func(n *node)) {
	n.t.Helper()
	ok := n.t.Run(name, func(t *testing.T) {
		m := *n
		m.t = t
		f(&m)
		n.gen, n.now = m.gen, m.now
	})
	if !ok {
		n.t.FailNow()
	}
}

// with gives the settings with one more word, such as "health.checks".
func (n *node) with(path string, value any) map[string]any {
	out := maps.Clone(n.settings)
	section, key, ok := strings.Cut(path, ".")
	if !ok {
		out[path] = value
		return out
	}
	inner, _ := out[section].(map[string]any)
	inner = maps.Clone(inner)
	if inner == nil {
		inner = map[string]any{}
	}
	inner[key], out[section] = value, inner
	return out
}

// system adds to a system the installed units and the node's settings.
func (n *node) system(c Config) Config {
	n.t.Helper()
	if c.Gen == "" {
		n.gen++
		c.Gen = fmt.Sprint(n.gen)
	}
	c, err := Installed(c, n.settings)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// set gives a system with other settings.
func (n *node) set(c Config, settings map[string]any) Config {
	n.t.Helper()
	raw, err := json.Marshal(settings)
	if err != nil {
		n.t.Fatal(err)
	}
	c.Etc = map[string]string{"pullnode/pullnode.json": string(raw)}
	return c
}

// push commits a system, signed, and gives the commit.
func (n *node) push(c Config, message string) string {
	n.t.Helper()
	return n.pushAs("alice", c, message)
}

func (n *node) pushAs(key string, c Config, message string) string {
	n.t.Helper()
	if err := os.RemoveAll(filepath.Join(n.r.Dir, "hosts")); err != nil {
		n.t.Fatal(err)
	}
	for path, text := range FlakeFiles("lab", n.system(c)) {
		n.r.Write(path, text)
	}
	return n.r.Commit(key, message)
}

// status gives what the agent shows.
func (n *node) status() (s agent.Status) {
	raw, err := n.h.Read("/run/pullnode/status.json")
	if err == nil {
		_ = json.Unmarshal(raw, &s) // not there yet: asked again
	}
	return s
}

// state gives what the agent keeps; the zero one while it is being replaced.
func (n *node) state() state.State {
	dir, err := n.h.locate("/var/lib/pullnode")
	if err != nil {
		return state.State{}
	}
	floor, err := n.h.locate("/nix/var/pullnode/floor.json")
	if err != nil {
		return state.State{}
	}
	s, _, _ := state.Peek(state.Config{Dir: dir, FloorPath: floor})
	return s
}

// until waits for a condition; generous, because two machines share two cores.
func (n *node) until(what string, f func() bool) {
	n.t.Helper()
	n.within(3*time.Minute, what, f)
}

func (n *node) within(d time.Duration, what string, f func() bool) {
	n.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if f() {
			return
		}
	}
	n.t.Fatalf("never happened: %s", what)
}

// about waits until the status says sync about a commit, and gives it.
func (n *node) about(sync, commit string) (s agent.Status) {
	n.t.Helper()
	n.until("status "+sync+" about "+commit, func() bool {
		s = n.status()
		return s.Sync == sync && (s.Running != nil && s.Running.ID == commit && s.Wanted == nil || s.Wanted != nil && s.Wanted.ID == commit)
	})
	return s
}

// says waits until the status gives this reason too.
func (n *node) says(sync, commit, why string) {
	n.t.Helper()
	n.until(sync+" about "+commit+" because "+why, func() bool {
		s := n.status()
		return s.Sync == sync && s.Wanted != nil && s.Wanted.ID == commit && strings.Contains(strings.Join(s.Why, "\n"), why)
	})
}

// deployed waits until the commit runs and is what boots.
func (n *node) deployed(commit string) {
	n.t.Helper()
	n.about("in-sync", commit)
	n.now = commit
	n.settled()
}

// settled proves that nothing of a try is left and that what runs also boots.
func (n *node) settled() {
	n.t.Helper()
	running, err := n.h.Current(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	if def, err := n.h.BootDefault(); err != nil || def != running {
		n.t.Errorf("%s runs, %s boots, %v", running, def, err)
	}
	if s := n.state(); s.Attempt != nil || s.Deployed.Toplevel != running {
		n.t.Errorf("%s runs; the state has %s and the try %+v", running, s.Deployed.Toplevel, s.Attempt)
	}
	if left := run(n.ctx, n.t, n.h, "systemctl", "list-units", "--all", "--plain", "--no-legend",
		"pullnode-switch-*", "pullnode-guard-*", "pullnode-boot-*", "pullnode-health-*", "pullnode-lifeline-*", "pullnode-check-*"); left != "" {
		n.t.Errorf("left of the try: %s", left)
	}
}

// refused waits for a verdict against a commit, and proves that it changed nothing.
func (n *node) refused(commit, why string) {
	n.t.Helper()
	s := n.about("refused", commit)
	if got := s.Verdict + " " + strings.Join(s.Why, " "); !strings.Contains(got, why) {
		n.t.Errorf("refused with %q, want %q", got, why)
	}
	n.untouched()
}

// putBack waits until a commit was tried and put back, for this reason.
func (n *node) putBack(commit, why string) {
	n.t.Helper()
	s := n.about("held", commit)
	if got := strings.Join(s.Why, "\n"); s.Health != "reverted" || !strings.Contains(got, why) {
		n.t.Errorf("%s, %q, want %q", s.Health, got, why)
	}
	n.untouched()
}

func (n *node) untouched() {
	n.t.Helper()
	if s := n.state(); s.Deployed.Commit != n.now {
		n.t.Errorf("deployed is %s, want %s", s.Deployed.Commit, n.now)
	}
	n.settled()
}

// evidence is what a person would look at first.
func (n *node) evidence() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, argv := range [][]string{{"pullnode", "status"}, {"pullnode", "history"}, {"cat", "/run/pullnode/status.json"},
		{"systemctl", "list-units", "--all", "--no-pager", "pullnode*"}, {"sh", "-c", "ls -la /run/pullnode /var/lib/pullnode /var/lib/pullnode-sync/"},
		{"journalctl", "--no-pager", "-n", "150", "-o", "short-monotonic"}} {
		out, err := n.h.Run(ctx, argv...)
		fmt.Fprintf(&b, "$ %s\n%s", strings.Join(argv, " "), out)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	return b.String()
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pullnode/internal/agent"
	"pullnode/internal/config"
	"pullnode/internal/gitrig"
)

// The test binary is the fetching child and the guard's decider, as the real one
// is, and what people type into a terminal.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "fetch-child" || os.Args[1] == "decide" || os.Getenv("PULLNODE_TEST_MAIN") != "") {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// host is a node in one directory that follows a real repository over HTTP and
// builds with real Nix.
type host struct {
	t    *testing.T
	r    *gitrig.Repo
	root string
	a    *agent.Agent
	conf string // the settings file
	down bool   // the server answers 503
	git  http.Handler
	// answer is the server in git's place, where it is set.
	answer http.HandlerFunc
}

func newHost(t *testing.T, settings map[string]any) *host {
	t.Helper()
	if _, err := exec.LookPath("nix"); err != nil {
		t.Fatal("nix is missing (Debian package nix-bin)")
	}
	h := &host{t: t, r: gitrig.New(t), root: filepath.Join(t.TempDir(), "node")}
	t.Cleanup(func() { exec.Command("chmod", "-R", "u+w", h.root).Run() })
	for _, name := range []string{"flake.nix", "build.sh"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "internal", "demo", "site", name))
		if err != nil {
			t.Fatal(err)
		}
		arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
		h.r.Write(name, strings.ReplaceAll(string(raw), "@system@", arch+"-linux"))
	}
	h.r.Write("site/index.html", "one\n")
	h.r.Signers("alice")
	intro := h.r.Commit("alice", "introduce")
	h.git = h.r.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case h.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case h.answer != nil:
			h.answer(w, q)
		default:
			h.git.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(srv.Close)
	page := filepath.Join(h.root, "run", "current-system", "site", "index.html")
	all := map[string]any{"hostName": "demo", "url": srv.URL + "/repo", "introduction": h.r.Introduction(intro, "alice"),
		"schedule": map[string]any{"interval": "1s", "jitter": "1ms"},
		"lifeline": map[string]any{"window": "1s"},
		"health": map[string]any{"settle": "10ms", "window": "1s", "interval": "50ms", "successes": 2,
			"checks": map[string]any{"page": map[string]any{"type": "command", "argv": []string{"test", "-s", page}}}}}
	for k, v := range settings {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	h.conf = filepath.Join(filepath.Dir(h.root), "pullnode.json")
	if err := os.WriteFile(h.conf, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if h.a, err = onePlace(c, h.root, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.a.Store.Close() })
	return h
}

// cycle runs one cycle and gives the status that people would see.
func (h *host) cycle() agent.Status {
	h.t.Helper()
	if _, err := h.a.Cycle(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	return h.readStatus()
}

func (h *host) readStatus() agent.Status {
	h.t.Helper()
	raw, err := os.ReadFile(agent.StatusPath(filepath.Join(h.root, "run")))
	if err != nil {
		h.t.Fatal(err)
	}
	var s agent.Status
	if err := json.Unmarshal(raw, &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *host) want(s agent.Status, sync, health, page string) {
	h.t.Helper()
	got, _ := os.ReadFile(filepath.Join(h.root, "run", "current-system", "site", "index.html"))
	if s.Sync != sync || s.Health != health || strings.TrimSpace(string(got)) != page {
		h.t.Errorf("%s %s, page %q; want %s %s %q (why %q, failure %+v)", s.Sync, s.Health, got, sync, health, page, s.Why, s.Failure)
	}
}

func (h *host) page(text string) { h.r.Write("site/index.html", text) }

func TestSignedIsDeployedUnsignedRefusedUnhealthyPutBack(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.page("two\n")
	good := h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.page("three\n")
	h.r.Commit("", "unsigned")
	h.want(h.cycle(), "refused", "healthy", "two")
	// comin's fault 3: after the genuine line is back, a signed fix is taken.
	h.r.Git("reset", "-q", "--hard", good)
	h.page("")
	h.r.Commit("alice", "an empty page")
	h.want(h.cycle(), "held", "reverted", "two")
	h.want(h.cycle(), "held", "reverted", "two") // never tried again by itself

	// comin's fault 9: a git revert is deployed.
	h.r.Git("revert", "-n", "HEAD")
	h.page("four\n")
	h.r.Commit("alice", "four")
	h.want(h.cycle(), "in-sync", "healthy", "four")
	h.r.Git("checkout", good, "--", "site")
	h.r.Commit("alice", "Revert \"four\"")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	before, _ := os.Readlink(filepath.Join(h.root, "profiles", "system"))
	h.r.Write("README", "more\n")
	h.r.Commit("alice", "README")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	if after, _ := os.Readlink(filepath.Join(h.root, "profiles", "system")); after != before {
		t.Errorf("a README edit made %s of %s", after, before)
	}
}

// comin's fault 4: a network failure is never shown as a signature alarm, and
// loses nothing.
func TestRemoteDown(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	h.down = true
	s := h.cycle()
	h.want(s, "in-sync", "healthy", "one")
	if s.Failure == nil || s.Failure.Class != "throttled" && s.Failure.Class != "server-error" {
		t.Errorf("failure %+v", s.Failure)
	}
	h.down = false
	if s = h.cycle(); s.Failure != nil {
		t.Errorf("failure stays: %+v", s.Failure)
	}
}

// comin's faults 2 and 16: with the state file gone or damaged the floor still
// refuses an older signed commit.
func TestRewindAfterStateLoss(t *testing.T) {
	h := newHost(t, nil)
	old := h.r.Head()
	h.cycle()
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	h.a.Store.Close()
	for _, name := range []string{"state.json", "state.json.prev", "ancestors"} {
		if err := os.WriteFile(filepath.Join(h.root, "state", name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := onePlace(h.a.Config, h.root, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h.a = a
	h.r.Git("reset", "-q", "--hard", old)
	s := h.cycle()
	if s.Sync != "refused" || s.Verdict != "ROLLBACK" && s.Verdict != "FORK" {
		t.Errorf("after state loss an older commit is %s %s %q", s.Sync, s.Verdict, s.Why)
	}
	h.want(s, "refused", s.Health, "two")
}

func TestFailuresThatAreTheCommits(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	flake, _ := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	for name, c := range map[string]struct{ from, to, say string }{
		"eval error":   {"name = \"nixos-system-demo\"", "name = throw \"no luck\"", "no luck"},
		"missing host": {"nixosConfigurations.demo", "nixosConfigurations.other", `no host "demo"`},
		"build":        {"args = [ ./build.sh ]", "args = [ \"-c\" \"echo broken >&2; exit 3\" ]", "the build of"},
	} {
		h.r.Write("flake.nix", strings.Replace(string(flake), c.from, c.to, 1))
		h.r.Commit("alice", name)
		s := h.cycle()
		h.want(s, "failed", "healthy", "one")
		if len(s.Why) == 0 || !strings.Contains(s.Why[0], c.say) {
			t.Errorf("%s: why %q, want %q", name, s.Why, c.say)
		}
	}
	h.r.Write("flake.nix", string(flake))
	h.page("fixed\n")
	h.r.Commit("alice", "fixed")
	h.want(h.cycle(), "in-sync", "healthy", "fixed")
}

func TestObserveNeverActivates(t *testing.T) {
	h := newHost(t, map[string]any{"operation": "observe"})
	h.cycle()
	if _, err := os.Lstat(filepath.Join(h.root, "run", "current-system")); err == nil {
		t.Error("observe switched")
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		exit int
		say  string
	}{
		{[]string{"statsu"}, exitUsage, `did you mean "status"?`},
		{[]string{"check-config"}, exitUsage, "usage: pullnode check-config FILE"},
		{[]string{"check-config", "/nonexistent"}, exitFailed, "no such file"},
		{[]string{"status", "--run", "/nonexistent"}, exitFailed, "hint: systemctl status pullnode"},
		{[]string{"run", "--config", "/nonexistent"}, exitFailed, "no such file"},
	} {
		var out, errs bytes.Buffer
		if got := run(c.args, &out, &errs); got != c.exit || !strings.Contains(errs.String(), c.say) {
			t.Errorf("%v: exit %d, %q; want %d with %q", c.args, got, errs.String(), c.exit, c.say)
		}
	}
}

// A rebuild by hand is held, not undone, until resume or another system.
func TestManualSwitchIsHeld(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	link := filepath.Join(h.root, "run", "current-system")
	one, _ := os.Readlink(link)
	h.page("two\n")
	h.r.Commit("alice", "two")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	byHand := func() {
		os.Remove(link)
		if err := os.Symlink(one, link); err != nil {
			t.Fatal(err)
		}
		h.restart()
	}
	byHand()
	h.want(h.cycle(), "held", "healthy", "one")
	h.page("three\n")
	h.r.Commit("alice", "another system")
	h.want(h.cycle(), "in-sync", "healthy", "three")
	byHand()
	h.want(h.cycle(), "held", "healthy", "one")
}

package main

import (
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
	asPlugin()
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

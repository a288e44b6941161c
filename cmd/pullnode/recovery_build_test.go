package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/activate"
	"pullnode/internal/state"
)

// Every row of the table of docs/recovery.md about commits that give no system.
func TestRecoveryOfTheBuild(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	raw, err := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	mustDo(t, err)
	flake := string(raw)
	n := 0
	// try commits what broke the tree, looks, and commits one that is right.
	try := func(h *host, row docRow) {
		t := h.t
		t.Helper()
		page, _ := os.ReadFile(filepath.Join(h.root, "run", "current-system", "site", "index.html"))
		h.r.Commit("alice", row.what)
		s := h.cycle()
		h.want(s, "failed", "healthy", strings.TrimSpace(string(page)))
		why, todo := seen(s, "why")
		if !like(why, row.shows) || !like(todo, row.todo) {
			t.Errorf("status shows %q and %q\ndocs/recovery.md says %q and %q", why, todo, row.shows, row.todo)
		}
		list, err := h.a.Store.History(1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if again := list[0].Result == state.ResultFailed; again != strings.HasPrefix(row.self, "tried again") {
			t.Errorf("history says %s, docs/recovery.md says %s", list[0].Result, row.self)
		}
		if strings.Contains(row.todo, "nix-collect-garbage") {
			cmd := exec.Command("nix-collect-garbage", "-d")
			cmd.Env = append(os.Environ(), ownStore(h.root)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		n++
		h.r.Git("rm", "-r", "-q", "--cached", ".")
		os.Remove(filepath.Join(h.r.Dir, "flake.lock"))
		h.r.Write("flake.nix", flake)
		next := strings.Repeat("i", n)
		h.page(next + "\n")
		h.r.Commit("alice", "the fix")
		h.want(h.cycle(), "in-sync", "healthy", next)
	}
	replace := func(from, to string) func(*testing.T, docRow) {
		return func(t *testing.T, row docRow) {
			if !strings.Contains(flake, from) {
				t.Fatalf("%q is not in flake.nix", from)
			}
			h.r.Write("flake.nix", strings.Replace(flake, from, to, 1))
			h.in(t, func() { try(h, row) })
		}
	}
	builder := h.a.Builder.(*activate.Builder)
	everyRow(t, "A commit gives no system", map[string]func(*testing.T, docRow){
		"flake.lock misses a hash, or reaches outside of the repository": func(t *testing.T, row docRow) {
			h.lock(map[string]any{"type": "tarball", "url": "https://example.org/x.tar.gz"})
			h.in(t, func() { try(h, row) })
		},
		"the flake has no such host": replace("nixosConfigurations.demo", "nixosConfigurations.other"),
		"the evaluation fails":       replace(`name = "nixos-system-demo"`, `name = throw "no luck"`),
		"the build fails":            replace("args = [ ./build.sh ]", `args = [ "-c" "echo broken >&2; exit 3" ]`),
		"an input cannot be fetched": func(t *testing.T, row docRow) {
			url := strings.TrimSuffix(h.a.Config.Remotes[0].URL, "/repo") + "/gone.tar.gz"
			h.r.Write("flake.nix", strings.Replace(flake, "outputs = { self }", `inputs.x = { url = "`+url+`"; flake = false; }; outputs = { self, x }`, 1))
			h.lock(map[string]any{"type": "tarball", "url": url, "narHash": "sha256-" + strings.Repeat("A", 43) + "="})
			h.in(t, func() { try(h, row) })
		},
		"it takes too long": func(t *testing.T, row docRow) {
			h.r.Write("flake.nix", strings.Replace(flake, "args = [ ./build.sh ]", `args = [ "-c" "sleep 3600" ]`, 1))
			was := builder.Build
			builder.Build = time.Second
			h.r.Commit("alice", row.what)
			defer func() { builder.Build = was }()
			h.in(t, func() {
				s := h.cycle()
				why, todo := seen(s, "why")
				if !like(why, row.shows) || !like(todo, row.todo) {
					t.Errorf("status shows %q and %q\ndocs/recovery.md says %q and %q", why, todo, row.shows, row.todo)
				}
			})
			h.r.Write("flake.nix", flake)
			builder.Build = was
			h.r.Commit("alice", "fast again")
			if s := h.cycle(); s.Sync != "in-sync" {
				t.Errorf("afterwards %s %q", s.Sync, s.Why)
			}
		},
		"no space is left": func(t *testing.T, row docRow) {
			h := newHost(t, nil)
			tmpfs(t, filepath.Join(h.root, "nix"), "12m")
			h.want(h.cycle(), "in-sync", "healthy", "one")
			h.r.Write("flake.nix", strings.Replace(flake, "args = [ ./build.sh ]", `args = [ "-c" "head -c 40000000 /dev/zero >$out" ]`, 1))
			try(h, row)
		},
	})
}

// in lets the host report to a subtest.
func (h *host) in(t *testing.T, do func()) {
	was := h.t
	h.t = t
	defer func() { h.t = was }()
	do()
}

// lock writes a flake.lock with one input.
func (h *host) lock(locked map[string]any) {
	h.t.Helper()
	raw, err := json.Marshal(map[string]any{"version": 7, "root": "root", "nodes": map[string]any{
		"root": map[string]any{"inputs": map[string]any{"x": "x"}},
		"x":    map[string]any{"flake": false, "locked": locked, "original": locked}}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.r.Write("flake.lock", string(raw))
}

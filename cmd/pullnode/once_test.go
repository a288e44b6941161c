package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/state"
)

// What is refused is in the history once, whatever happens in between: the same
// tip is judged anew by every process, and again when the branch was elsewhere.
func TestRefusalIsToldOnce(t *testing.T) {
	h := newHost(t, nil)
	good := h.r.Head()
	h.cycle()
	raw, _ := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	h.r.Write("flake.nix", strings.Replace(string(raw), `name = "nixos-system-demo"`, `name = throw "no luck"`, 1))
	broken := h.r.Commit("alice", "no luck")
	h.want(h.cycle(), "failed", "healthy", "one")
	h.page("evil\n")
	unsigned := h.r.Commit("", "unsigned")
	for range 2 {
		h.want(h.cycle(), "refused", "healthy", "one")
		h.r.Git("reset", "-q", "--hard", good) // refused too: it was left behind
		h.want(h.cycle(), "refused", "healthy", "one")
		h.r.Git("reset", "-q", "--hard", broken)
		h.want(h.cycle(), "failed", "healthy", "one")
		h.r.Git("reset", "-q", "--hard", unsigned)
		h.restart()
	}
	list, err := h.a.Store.History(100)
	mustDo(t, err)
	times := map[string]int{}
	for _, e := range list {
		if e.Result == state.ResultRefused {
			times[e.Commit]++
		}
	}
	for _, id := range []string{good, broken, unsigned} {
		if times[id] != 1 {
			t.Errorf("%s is refused %d times in the history", short(id), times[id])
		}
	}
}

package fetch

import (
	"context"
	"os"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// The stream of every shape of history is the one that package sync reads and
// that git's own plumbing says it is.
func TestStreamOfHistories(t *testing.T) {
	r, ids := historyRepo(t)
	r.Git("checkout", "-q", "-b", "old", ids[0])
	r.Write("side", "1\n")
	side := r.Commit("alice", "side from before T")
	r.Git("checkout", "-q", "main")
	merge := r.Merge("alice", "old")
	r.Git("checkout", "-q", "--orphan", "island")
	r.Write("island", "1\n")
	r.Commit("alice", "a root of its own")
	r.Git("checkout", "-q", "main")
	graft := r.Merge("alice", "island", "--allow-unrelated-histories", "-X", "ours")
	url := serve(t, gitHandler(t, r))
	twin := strings.Repeat("1", 40)
	for _, c := range []struct {
		name, tip, trusted string
		parents            []string
	}{
		{"tip is T", ids[2], ids[2], nil},
		{"linear", ids[2], ids[0], nil},
		{"no T at all", ids[2], "", nil},
		{"merge of work older than T", merge, ids[1], nil},
		{"T is on the side", merge, side, nil},
		{"second root", graft, merge, nil},
		{"rewound", ids[1], ids[2], []string{ids[1]}},
		{"rewound far", ids[0], ids[2], []string{ids[1]}},
		{"fork beside T", side, ids[1], []string{ids[0]}},
		{"twin of T", ids[2], twin, []string{ids[1]}},
		{"T and its parents are unknown", ids[2], twin, []string{strings.Repeat("2", 40)}},
		{"T was a merge", graft, twin, []string{ids[2], side}},
	} {
		for _, ancestry := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				r.Git("update-ref", "refs/heads/main", c.tip)
				g := newRig(t)
				w := g.want(url)
				w.Trusted, w.TrustedParents, w.Ancestry = c.trusted, c.parents, ancestry
				g.moved(r, w, c.tip)
			})
		}
	}
	t.Run("rewound with all of it still here", func(t *testing.T) {
		g := newRig(t)
		for _, tip := range []string{graft, ids[1], merge} {
			r.Git("update-ref", "refs/heads/main", tip)
			w := g.want(url)
			w.Trusted, w.TrustedParents = ids[2], []string{ids[1]}
			g.moved(r, w, tip)
		}
	})
}

// A submodule is not in the repository; its entry goes by.
func TestStreamWithSubmodule(t *testing.T) {
	r := gitrig.New(t)
	r.Signers("alice")
	r.Git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("3", 40)+",mod")
	r.Git("add", ".pullnode")
	r.Git("commit", "-q", "-m", "submodule")
	g := newRig(t)
	g.moved(r, g.want(r.Dir), r.Head())
}

// Too deep a tree and too large an answer are refused, and nothing is left.
func TestStreamLimits(t *testing.T) {
	r := gitrig.New(t)
	r.Write(strings.Repeat("d/", 70)+"f", "x\n")
	r.Write("big", pseudoRandom(1<<20))
	r.Commit("", "deep")
	for name, lim := range map[string]Limits{"depth": {}, "size": {Depth: 100, Answer: 512 << 10}} {
		g := newRig(t, func(c *Config) { c.Limits = lim })
		rep := g.Serve(context.Background(), g.want(r.Dir))
		if rep.Class != sync.OverLimit {
			t.Errorf("%s: %+v, want over limit", name, rep)
		}
		if files, _ := os.ReadDir(g.dir); len(files) != 1 {
			t.Errorf("%s: left behind %v", name, files)
		}
	}
}

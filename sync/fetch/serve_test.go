package fetch

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"pullnode/sync"
)

// Every way to reach a repository gives the same answer.
func TestServeHTTPAndLocal(t *testing.T) {
	r, ids := historyRepo(t)
	http := serve(t, gitHandler(t, r))
	for name, url := range map[string]string{"http": http, "path": r.Dir, "bare path": r.Dir + "/.git", "file url": "file://" + r.Dir} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			w := g.want(url)
			w.Trusted, w.Ancestry = ids[1], true
			rep := g.moved(r, w, ids[2])
			if want := map[bool]string{true: "v2", false: "local"}[name == "http"]; rep.Protocol != want {
				t.Errorf("protocol %s, want %s", rep.Protocol, want)
			}
			if rep.Bytes == 0 {
				t.Error("no bytes were counted")
			}
			w = g.want(url)
			w.Known = ids[2]
			if rep := g.Serve(context.Background(), w); rep.Class != sync.Unchanged {
				t.Errorf("second poll: %+v", rep)
			}
		})
	}
}

// The pack of a second fetch holds only what is new.
func TestIncrementalFetch(t *testing.T) {
	r, ids := historyRepo(t)
	r.Write("big", pseudoRandom(300<<10))
	tip := r.Commit("alice", "big")
	g := newRig(t)
	url := serve(t, gitHandler(t, r))
	w := g.want(url)
	w.Trusted = ids[0]
	first := g.moved(r, w, tip)
	r.Write("flake.nix", "{ a = 1; }\n")
	next := r.Commit("alice", "four")
	w = g.want(url)
	w.Trusted, w.Known = tip, tip
	second := g.moved(r, w, next)
	if second.Bytes*10 > first.Bytes {
		t.Errorf("second fetch read %d bytes, the first %d", second.Bytes, first.Bytes)
	}
	// A tip that is here already needs no pack.
	w = g.want(url)
	w.Trusted = tip
	third := g.moved(r, w, next)
	if third.Bytes >= second.Bytes {
		t.Errorf("third request read %d bytes, the second %d", third.Bytes, second.Bytes)
	}
}

func pseudoRandom(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = 'a' + byte(x>>24)%26
	}
	return string(b)
}

// Whatever is damaged in the kept repository, the next request brings the answer.
func TestDamagedRepositoryIsFetchedAgain(t *testing.T) {
	r, ids := historyRepo(t)
	url := serve(t, gitHandler(t, r))
	for _, name := range []string{".pack", ".idx"} {
		for _, how := range []string{"truncated", "flipped", "removed"} {
			t.Run(name+" "+how, func(t *testing.T) {
				g := newRig(t)
				w := g.want(url)
				w.Trusted = ids[0]
				g.moved(r, w, ids[2])
				files, _ := filepath.Glob(filepath.Join(g.conf.RepoDir, "objects/pack/*"+name))
				if len(files) != 1 {
					t.Fatalf("files %v", files)
				}
				b, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				switch how {
				case "truncated":
					err = os.WriteFile(files[0], b[:len(b)/2], 0o600)
				case "flipped":
					for i := 12; i < len(b); i++ {
						b[i] ^= 0x55
					}
					err = os.WriteFile(files[0], b, 0o600)
				case "removed":
					err = os.Remove(files[0])
				}
				if err != nil {
					t.Fatal(err)
				}
				w = g.want(url)
				w.Trusted = ids[0]
				g.moved(r, w, ids[2])
			})
		}
	}
}

package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"pullnode/sync"
)

// Each attack meets the fetching service and its real child, as processes of their
// own with the limits of a node. The poll ends by the node's own deadlines, with
// the right class; neither process nor root, which takes in what gets that far,
// needs more memory than it may; nothing is left behind, and the next poll, of a
// good server, brings its answer.
//
// With -v it prints a table (make hostile).
func TestHostileServers(t *testing.T) {
	r, ids := historyRepo(t)
	intro := r.Introduction(ids[0], "alice")
	good := packOf(r, ids[2])
	stranger := newStranger(t)
	attacks := slices.Concat(hostileTips(), hostileStreams(), hostileContents(r, good), hostileHTTP(stranger.url), hostileSSH())
	want := records(t, r.Stream(sync.Want{Format: sync.StreamFormat, Request: 2, Branch: "main"}, ids[2]))

	var mu stdsync.Mutex
	var rows []string
	for _, kind := range []string{"http", "ssh"} {
		goodURL, goodAuth := attack{u: &upload{tip: good.tip, pack: sends(func() []byte { return good.pack })}}.serve(t, kind)
		t.Run(kind, func(t *testing.T) {
			for _, a := range attacks {
				if !a.over(kind) {
					continue
				}
				t.Run(a.name, func(t *testing.T) {
					t.Parallel()
					row := a.meet(t, kind, intro, func(d *daemon) {
						_, next := d.poll(goodURL, goodAuth, hostileLimits)
						if next.Report.Class != sync.Moved || next.Report.Tip != good.tip {
							t.Fatalf("the next poll, of a good server: %+v", next.Report)
						}
						raw, err := os.ReadFile(filepath.Join(d.dir, "answer"))
						if err != nil {
							t.Fatal(err)
						}
						got := records(t, raw)
						for id := range want {
							if !got[id] || len(got) != len(want) {
								t.Fatalf("the next poll brings %d objects, want %d", len(got), len(want))
							}
						}
					})
					mu.Lock()
					rows = append(rows, row)
					mu.Unlock()
				})
			}
		})
	}
	slices.Sort(rows)
	t.Logf("\n%-42s %-4s %-14s %-9s %7s %7s %7s %8s\n%s", "attack", "over", "class", "root says", "MB poll", "MB kid", "MB root", "seconds", strings.Join(rows, "\n"))
	if n := stranger.asked.Load(); n > 0 {
		t.Errorf("the other origin was asked %d times", n)
	}
}

// hostileLimits are those of a node, but for time and the size of a pack, so that
// the test ends.
var hostileLimits = Limits{Poll: time.Minute, Fetch: 2 * time.Minute, Pack: 32 << 20, Memory: 512 << 20}

// The service itself, which keeps running, and root have no limit from the kernel.
const (
	serviceMemory = 96 << 20
	rootMemory    = 256 << 20
)

// meet lets the attack happen and gives its row of the table.
func (a attack) meet(t *testing.T, kind, intro string, good func(*daemon)) string {
	lim := hostileLimits
	if a.lim.Poll != 0 {
		lim.Poll = a.lim.Poll
	}
	if a.lim.Fetch != 0 {
		lim.Fetch = a.lim.Fetch
	}
	lim.Window, lim.MinRate = a.lim.Window, a.lim.MinRate
	url, auth := a.serve(t, kind)
	d := newDaemon(t)
	w, r := d.poll(url, auth, lim)
	rep := r.Report
	if rep.Class != a.class || strings.ContainsFunc(rep.Text, func(r rune) bool { return r < ' ' }) {
		t.Errorf("%+v, want %s", rep, a.class)
	}
	if most := lim.Poll + lim.Fetch + grace + time.Minute; r.Took > most {
		t.Errorf("it took %v, its deadlines allow %v", r.Took, most)
	}
	if r.Own > serviceMemory || r.Child > int64(lim.Memory) {
		t.Errorf("service %d MB, child %d MB of memory", r.Own>>20, r.Child>>20)
	}
	var root rootSaid
	if rep.Class == sync.Moved {
		if root = d.root(w, intro); root.Verdict.Name != a.verdict || root.Peak > rootMemory {
			t.Errorf("root: %+v with %d MB, want %s", root.Verdict, root.Peak>>20, a.verdict)
		}
	} else if left := d.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	good(d)
	return fmt.Sprintf("%-42s %-4s %-14s %-9s %7d %7d %7d %8.1f", a.name, kind, rep.Class, root.Verdict.Name, r.Own>>20, r.Child>>20, root.Peak>>20, (r.Took + root.Took).Seconds())
}

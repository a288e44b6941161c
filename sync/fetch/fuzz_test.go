package fetch

import (
	"bytes"
	"crypto/sha1"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/sys/unix"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// memfile is a file without a name or a disk.
func memfile(tb testing.TB) *os.File {
	tb.Helper()
	fd, err := unix.MemfdCreate("pack", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "pack")
	tb.Cleanup(func() { f.Close() })
	return f
}

// gitPack is a pack of all of a repository by git itself.
func gitPack(tb testing.TB, dir string, opts ...string) []byte {
	tb.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "pack-objects", "--all", "--stdout", "-q"}, opts...)...)
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// tally is what go-git makes of a pack.
type tally struct{ objects, total int64 }

func (*tally) OnHeader(uint32) error                                              { return nil }
func (*tally) OnInflatedObjectContent(plumbing.Hash, int64, uint32, []byte) error { return nil }
func (*tally) OnFooter(plumbing.Hash) error                                       { return nil }
func (t *tally) OnInflatedObjectHeader(_ plumbing.ObjectType, size, _ int64) error {
	t.objects, t.total = t.objects+1, t.total+size
	return nil
}

// Whatever the bytes are, lint and then the parser end without a panic, and a
// pack that both take holds what it declared and no more than the limits allow.
func FuzzLint(f *testing.F) {
	r := gitrig.New(f)
	for i := range 4 { // deltas on deltas
		r.Write("dir/long", strings.Repeat("line\n", 200)+strings.Repeat("x", i)+"\n")
		r.Commit("", "more")
	}
	f.Add(gitPack(f, r.Dir, "--delta-base-offset"))
	f.Add(gitPack(f, r.Dir)) // deltas that name their base by its id
	f.Add(gitPack(f, r.Dir, "--delta-base-offset", "--depth=1", "--compression=0"))
	for _, p := range smallPacks() {
		if len(p.b) < 4000 {
			f.Add(p.b)
		}
	}
	lim := Limits{Object: 256 << 10, Commit: 4 << 10, Tree: 4 << 10, Inflated: 1 << 20, Objects: 1000, Chain: 20}.withDefaults()
	file := memfile(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n := len(raw) - 20; n > 0 { // past the checksum, which chance never hits
			sum := sha1.Sum(raw[:n])
			raw = append(bytes.Clone(raw[:n]), sum[:]...)
		}
		if err := file.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(raw, 0); err != nil {
			t.Fatal(err)
		}
		n, err := lint(file, lim)
		if err != nil {
			if classFrom(err) != sync.BadData && classFrom(err) != sync.OverLimit {
				t.Errorf("%v is of the class %q", err, classFrom(err))
			}
			return
		}
		var sum tally
		if _, _, err := (&repo{lim: lim}).index(file, &sum); err != nil {
			return
		}
		if sum.objects != int64(n) || sum.total > lim.Inflated {
			t.Errorf("%d objects of %d bytes come out of a pack of %d", sum.objects, sum.total, n)
		}
	})
}

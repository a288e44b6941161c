package fetch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"pullnode/internal/gitrig"
)

// manyRefs is a repository with pull-request refs beside its branch.
func manyRefs(tb testing.TB, n int) (*gitrig.Repo, string) {
	tb.Helper()
	r := gitrig.New(tb)
	r.Write("f", "x\n")
	tip := r.Commit("", "one")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "create refs/pull/%d/head %s\n", i, tip)
	}
	cmd := exec.Command("git", "-C", r.Dir, "update-ref", "--stdin")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	r.Git("pack-refs", "--all")
	return r, tip
}

// A poll over the kept connection costs less than 1 kB whatever the number of
// refs.
func TestPollBytes(t *testing.T) {
	r, tip := manyRefs(t, 2000)
	c := client(t, serve(t, gitHandler(t, r)))
	for i := range 3 {
		before := c.Bytes()
		got, err := c.Tip(context.Background(), "main")
		if err != nil || got != tip {
			t.Fatalf("tip %s, %v", got, err)
		}
		if n := c.Bytes() - before; i > 0 && n > 1000 {
			t.Errorf("poll %d read %d bytes", i, n)
		}
	}
}

func cpu(who int) time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(who, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPoll reports what a poll costs. The CPU includes the server's share
// that runs in this process (net/http and cgi, not git itself), so it is an
// upper bound; it is set against git ls-remote's in the same run.
func BenchmarkPoll(b *testing.B) {
	for _, refs := range []int{10, 2000} {
		r, _ := manyRefs(b, refs)
		url := serve(b, gitHandler(b, r))
		for _, kept := range []bool{true, false} {
			b.Run(fmt.Sprintf("refs=%d/kept=%v", refs, kept), func(b *testing.B) {
				c := client(b, url)
				if _, err := c.Tip(context.Background(), "main"); err != nil {
					b.Fatal(err)
				}
				before, start := c.Bytes(), cpu(syscall.RUSAGE_SELF)
				for b.Loop() {
					if !kept {
						c.Close()
					}
					if _, err := c.Tip(context.Background(), "main"); err != nil {
						b.Fatal(err)
					}
				}
				own := float64(cpu(syscall.RUSAGE_SELF)-start) / float64(b.N)
				b.ReportMetric(float64(c.Bytes()-before)/float64(b.N), "bytes/poll")
				b.ReportMetric(own/1e3, "cpu-us/poll")
				b.ReportMetric(own/lsRemoteCPU(b, url), "of-git-ls-remote")
			})
		}
	}
}

// lsRemoteCPU is the CPU time of one git ls-remote, its helper included.
func lsRemoteCPU(b *testing.B, url string) float64 {
	b.Helper()
	const n = 5
	var sum time.Duration
	for range n {
		cmd := exec.Command("git", "ls-remote", url, "refs/heads/main")
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		sum += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return float64(sum) / n
}

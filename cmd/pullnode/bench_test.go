package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pullnode/internal/gitrig"
)

// installedScript starts the two resident processes as an installed host has
// them, on file systems that only they see. The agent is suspended: it asks and
// verifies, which is what it does all day, and builds nothing.
const installedScript = `set -e
mount --make-rprivate /
mkdir -p /nix/var
for d in /run /var/lib /nix/var; do mount -t tmpfs tmpfs $d; done
"$0" dirs
mkdir -p /var/lib/pullnode /var/lib/pullnode-sync
printf '{"verb":"suspend"}' > /run/pullnode/request/1
"$0" sync-daemon --config "$1" & echo sync $!
"$0" run --config "$1" & echo agent $!
wait`

// BenchmarkResident measures what pullnode costs a machine all day: resident
// memory of each process, and of both with what they share counted once; CPU time
// of one poll, of both processes, beside that of one git ls-remote on the same
// server; and the size of the binary.
func BenchmarkResident(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, for file systems of its own")
	}
	dir := b.TempDir()
	bin := filepath.Join(dir, "pullnode")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	r := gitrig.New(b)
	r.Signers("alice")
	r.Write("flake.nix", "{ outputs = _: { }; }\n")
	intro := r.Commit("alice", "introduce")
	for n := range 200 {
		r.Write(fmt.Sprintf("docs/%d", n), strings.Repeat("x", 500+n))
	}
	r.Commit("alice", "some files")
	git, polls := r.Handler(), atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPost {
			polls.Add(1)
		}
		git.ServeHTTP(w, q)
	}))
	b.Cleanup(srv.Close)
	conf := filepath.Join(dir, "pullnode.json")
	raw, err := json.Marshal(map[string]any{"hostName": "bench", "url": srv.URL + "/repo", "introduction": r.Introduction(intro, "alice"),
		"schedule": map[string]any{"interval": "200ms", "jitter": "1ms"}})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(conf, raw, 0o644); err != nil {
		b.Fatal(err)
	}
	pids := startInstalled(b, bin, conf)
	reach := func(n int64) {
		for end := time.Now().Add(2 * time.Minute); polls.Load() < n; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				b.Fatalf("%d polls, want %d", polls.Load(), n)
			}
		}
	}
	reach(20) // the first ones fetch and verify
	before, count := cpuOf(b, pids), polls.Load()
	b.ResetTimer()
	reach(count + int64(max(b.N, 50)))
	b.StopTimer()
	took := cpuOf(b, pids) - before
	b.ReportMetric(ms(took)/float64(polls.Load()-count), "ms-CPU/poll")
	b.ReportMetric(ms(lsRemoteCPU(b, srv.URL+"/repo")), "ms-CPU/git-ls-remote")
	together := 0.0
	for name, pid := range pids {
		b.ReportMetric(resident(b, pid, "Rss:"), "MB-RSS-"+name)
		together += resident(b, pid, "Pss:") // both map the same binary
	}
	b.ReportMetric(together, "MB-together")
	info, err := os.Stat(bin)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB-binary")
	b.ReportMetric(0, "ns/op") // the interval, not a cost
}

func startInstalled(b *testing.B, bin, conf string) map[string]int {
	b.Helper()
	cmd := exec.Command("unshare", "-m", "sh", "-c", installedScript, bin, conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	pids := map[string]int{}
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		name, pid, _ := strings.Cut(lines.Text(), " ")
		pids[name], _ = strconv.Atoi(pid)
	}
	if pids["sync"] == 0 || pids["agent"] == 0 {
		b.Fatalf("the processes did not start: %v", pids)
	}
	return pids
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// cpuOf gives the CPU time of the processes and of their children that ended:
// proc(5), stat, fields 14 to 17.
func cpuOf(b *testing.B, pids map[string]int) (sum time.Duration) {
	b.Helper()
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		for _, v := range f[11:15] {
			n, _ := strconv.Atoi(v)
			sum += time.Duration(n) * 10 * time.Millisecond // USER_HZ is 100
		}
	}
	return sum
}

// resident gives megabytes that a process holds: Rss all of them, Pss with pages
// that it shares counted in part, proc(5), smaps_rollup.
func resident(b *testing.B, pid int, what string) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "\n"+what)
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb<<10) / 1e6
}

// lsRemoteCPU is the CPU time of one git ls-remote, its helper included.
func lsRemoteCPU(b *testing.B, url string) time.Duration {
	b.Helper()
	const n = 20
	var sum time.Duration
	for range n {
		cmd := exec.Command("git", "ls-remote", url, "refs/heads/main")
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		sum += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return sum / n
}

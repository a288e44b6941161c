package fetch

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pullnode/sync"
)

// daemonAsk is one poll of the fetching service that daemonMain is.
type daemonAsk struct {
	Dir    string
	Auth   Auth
	Limits Limits
	Want   sync.Want
}

// daemonSaid is what became of it. The peaks are bytes of resident memory, of the
// service and of the largest of its children so far.
type daemonSaid struct {
	Report     sync.Report
	Took       time.Duration
	Own, Child int64
}

// daemonMain is the fetching service as a process of its own, whose children are
// the real ones: it serves one poll a line and keeps what it keeps between polls.
func daemonMain(in io.Reader, out io.Writer) int {
	asks, said := json.NewDecoder(in), json.NewEncoder(out)
	var s *Server
	for {
		var a daemonAsk
		if asks.Decode(&a) != nil {
			return 0
		}
		if s == nil {
			s, _ = New(Config{AnswerPath: filepath.Join(a.Dir, "answer"), ReportPath: filepath.Join(a.Dir, "report"),
				RepoDir: filepath.Join(a.Dir, "repo.git"), Child: childCommand("run")})
		}
		s.conf.Limits, s.conf.Credentials = a.Limits.withDefaults(), map[string]Auth{"origin": a.Auth}
		start := time.Now()
		r := daemonSaid{Report: s.Serve(context.Background(), a.Want), Took: time.Since(start), Own: peak()}
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u)
		if r.Child = u.Maxrss << 10; said.Encode(r) != nil {
			return 1
		}
	}
}

// peak is the most memory that this process ever had resident, in bytes.
func peak() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	fmt.Sscan(rest, &kib)
	return kib << 10
}

// rootAsk is an answer for root to take in.
type rootAsk struct {
	Answer       string
	Introduction string
	Want         sync.Want
}

type rootSaid struct {
	Verdict sync.Verdict
	Took    time.Duration
	Peak    int64
}

// rootMain takes in an answer and judges it, as the agent does, as a process of
// its own.
func rootMain(in io.Reader, out io.Writer) int {
	var a rootAsk
	if json.NewDecoder(in).Decode(&a) != nil {
		return 1
	}
	intro, err := sync.ParseIntroduction(a.Introduction)
	if err != nil {
		return 1
	}
	spool, err := os.CreateTemp(filepath.Dir(a.Answer), "intake")
	if err != nil {
		return 1
	}
	os.Remove(spool.Name())
	f, err := os.Open(a.Answer)
	if err != nil {
		return 1
	}
	start := time.Now()
	var r rootSaid
	s, err := sync.StreamReader{Want: a.Want, Spool: spool}.Read(f)
	if err != nil {
		r.Verdict, _ = sync.StreamVerdict(err)
	} else {
		_, r.Verdict = sync.Policy{Introduction: intro, Host: "a"}.Judge(s)
	}
	r.Took, r.Peak = time.Since(start), peak()
	if json.NewEncoder(out).Encode(r) != nil {
		return 1
	}
	return 0
}

// daemon is a running fetching service.
type daemon struct {
	tb  testing.TB
	dir string
	in  *json.Encoder
	out *json.Decoder
	n   uint64
}

func newDaemon(tb testing.TB) *daemon {
	tb.Helper()
	d := &daemon{tb: tb, dir: tb.TempDir()}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), childEnv + "=daemon", "TMPDIR=" + d.tmp()}
	if err := os.Mkdir(d.tmp(), 0o700); err != nil {
		tb.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	d.in, d.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return d
}

func (d *daemon) tmp() string { return filepath.Join(d.dir, "tmp") }

// poll asks once, and gives what was asked beside what was said.
func (d *daemon) poll(url string, a Auth, lim Limits) (sync.Want, daemonSaid) {
	d.tb.Helper()
	d.n++
	w := sync.Want{Format: sync.StreamFormat, Request: d.n, Branch: "main", Remotes: []sync.WantRemote{{Name: "origin", URL: url}}}
	if err := d.in.Encode(daemonAsk{d.dir, a, lim, w}); err != nil {
		d.tb.Fatalf("the service is gone: %v", err)
	}
	var r daemonSaid
	if err := d.out.Decode(&r); err != nil {
		d.tb.Fatalf("the service is gone: %v", err)
	}
	return w, r
}

// left names the files that a poll has left behind, but for those that are kept.
func (d *daemon) left() (names []string) {
	filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && path != filepath.Join(d.dir, "repo.git", "HEAD") {
			name, _ := filepath.Rel(d.dir, path)
			names = append(names, name)
		}
		return nil
	})
	return names
}

// root lets root take in the answer.
func (d *daemon) root(w sync.Want, introduction string) (r rootSaid) {
	d.tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{childEnv + "=root"}
	b, err := json.Marshal(rootAsk{filepath.Join(d.dir, "answer"), introduction, w})
	if err != nil {
		d.tb.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(string(b))
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		d.tb.Fatalf("root's part failed: %v", err)
	}
	return r
}

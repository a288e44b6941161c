package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

const childEnv = "PULLNODE_TEST_FETCH_CHILD"

// TestMain makes the test binary its own fetching child.
func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hang":
		time.Sleep(time.Hour)
	case "crash":
		panic("crash")
	case "burn":
		limitSelf(Limits{CPU: 1}.withDefaults())
		for n := 0; ; n++ {
		}
	case "chatter":
		for {
			os.Stdout.WriteString(strings.Repeat("x", 4096))
			if os.Getppid() == 1 {
				os.Exit(1)
			}
		}
	case "daemon":
		os.Exit(daemonMain(os.Stdin, os.Stdout))
	case "root":
		os.Exit(rootMain(os.Stdin, os.Stdout))
	default:
		os.Exit(ChildMain(os.Stdin, os.Stdout))
	}
}

func childCommand(mode string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), childEnv + "=" + mode}
		return cmd
	}
}

// gitHandler is git's own HTTP server for the repository.
func gitHandler(tb testing.TB, r *gitrig.Repo) http.Handler {
	tb.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		tb.Fatal("git is missing (Debian package git)")
	}
	return &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.Dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_SYSTEM=/dev/null", "HOME=/nonexistent"},
		Stderr: io.Discard,
	}
}

// serve starts an HTTP server and gives the address of the repository on it.
func serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/repo/.git"
}

// rig is a Server with its files in a temporary directory.
type rig struct {
	*Server
	tb  testing.TB
	dir string
	n   uint64
}

func newRig(tb testing.TB, change ...func(*Config)) *rig {
	tb.Helper()
	dir := tb.TempDir()
	c := Config{
		WantPath: filepath.Join(dir, "want"), AnswerPath: filepath.Join(dir, "answer"), ReportPath: filepath.Join(dir, "report"),
		RepoDir: filepath.Join(dir, "repo.git"), Child: childCommand("run"),
		Limits: Limits{Poll: 20 * time.Second, Fetch: 60 * time.Second},
	}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return &rig{Server: s, tb: tb, dir: dir}
}

func (g *rig) want(url string) sync.Want {
	g.n++
	return sync.Want{Format: sync.StreamFormat, Request: g.n, Branch: "main", Remotes: []sync.WantRemote{{Name: "origin", URL: url}}}
}

// moved serves a request that must bring an answer and checks the answer
// against package sync's reader and against git's own idea of what it holds.
func (g *rig) moved(r *gitrig.Repo, w sync.Want, tip string) sync.Report {
	g.tb.Helper()
	rep := g.Serve(context.Background(), w)
	if rep.Class != sync.Moved || rep.Tip != tip {
		g.tb.Fatalf("report %+v, want moved to %s", rep, tip)
	}
	g.checkAnswer(r, w, tip)
	return rep
}

func (g *rig) checkAnswer(r *gitrig.Repo, w sync.Want, tip string) {
	g.tb.Helper()
	raw, err := os.ReadFile(g.conf.AnswerPath)
	if err != nil {
		g.tb.Fatal(err)
	}
	if fi, _ := os.Stat(g.conf.AnswerPath); fi.Mode().Perm() != 0o600 {
		g.tb.Errorf("answer has mode %v", fi.Mode())
	}
	spool, err := os.CreateTemp(g.dir, "spool")
	if err != nil {
		g.tb.Fatal(err)
	}
	defer spool.Close()
	s, err := sync.StreamReader{Want: w, Spool: spool}.Read(strings.NewReader(string(raw)))
	if err != nil {
		g.tb.Fatalf("package sync refuses the answer: %v", err)
	}
	if s.Header.Tip != tip {
		g.tb.Errorf("answer is for %s, want %s", s.Header.Tip, tip)
	}
	got, want := records(g.tb, raw), records(g.tb, r.Stream(w, tip))
	for id := range want {
		if !got[id] {
			g.tb.Errorf("answer lacks %s", id)
		}
	}
	for id := range got {
		if !want[id] {
			g.tb.Errorf("answer has %s, which does not belong there", id)
		}
	}
}

// records gives the ids of a stream, read by its sizes alone.
func records(tb testing.TB, raw []byte) map[string]bool {
	tb.Helper()
	ids := map[string]bool{}
	_, rest, _ := strings.Cut(string(raw), "\n")
	for rest != "" {
		head, after, _ := strings.Cut(rest, "\n")
		f := strings.Fields(head)
		var size int
		if len(f) == 3 {
			for _, c := range f[2] {
				size = size*10 + int(c-'0')
			}
		}
		if len(f) != 3 || size >= len(after) || ids[f[0]] {
			tb.Fatalf("damaged or repeated record %q", head)
		}
		ids[f[0]] = true
		rest = after[size+1:]
	}
	return ids
}

// history makes a repository with three commits, folders, a policy and a link.
func historyRepo(tb testing.TB) (*gitrig.Repo, []string) {
	tb.Helper()
	r := gitrig.New(tb)
	var ids []string
	r.Signers("alice")
	r.Write("flake.nix", "{ }\n")
	r.Write("hosts/a/default.nix", "a\n")
	r.Write("hosts/b/default.nix", "a\n")
	ids = append(ids, r.Commit("alice", "one"))
	r.Write("hosts/a/default.nix", "a2\n")
	r.Write(".pullnode/more/deep", "x\n")
	if err := os.Symlink("flake.nix", filepath.Join(r.Dir, "link")); err != nil {
		tb.Fatal(err)
	}
	ids = append(ids, r.Commit("alice", "two"))
	r.Write("new/dir/file", strings.Repeat("line\n", 1000))
	ids = append(ids, r.Commit("alice", "three"))
	return r, ids
}

func classFrom(err error) sync.Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

func client(tb testing.TB, url string, change ...func(*Options)) *Client {
	tb.Helper()
	o := Options{Name: "origin", URL: url, Limits: Limits{Poll: 20 * time.Second}}
	for _, f := range change {
		f(&o)
	}
	c, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// closedPort is an address that nobody listens on.
func closedPort(tb testing.TB) string { return gitrig.ClosedPort(tb) }

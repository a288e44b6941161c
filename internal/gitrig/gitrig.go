// Package gitrig makes real repositories for tests: the git CLI, real SSH keys,
// real signatures. It also writes object streams by git's own plumbing, as a
// second, independent writer beside package sync/fetch.
//
// It is a test rig. Nothing that is installed imports it.
package gitrig

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Repo is a work tree under a test's temporary directory.
type Repo struct {
	Dir  string
	Keys string // directory of the keys made by Key
	tb   testing.TB
	tick int
}

// New makes an empty repository whose branch is main.
func New(tb testing.TB) *Repo {
	tb.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		tb.Fatal("git is missing (Debian package git)")
	}
	r := &Repo{Dir: filepath.Join(tb.TempDir(), "repo"), Keys: tb.TempDir(), tb: tb}
	r.run("", "git", "init", "-q", "-b", "main", r.Dir)
	return r
}

// On gives the repository for the calls of a part of its test.
func (r *Repo) On(tb testing.TB) *Repo {
	c := *r
	c.tb = tb
	c.tick += 1000 // the copy has its own clock; no two commits are alike
	r.tick += 100_000
	return &c
}

func (r *Repo) run(stdin, name string, args ...string) string {
	r.tb.Helper()
	cmd := exec.Command(name, args...)
	if name == "git" && (len(args) == 0 || (args[0] != "init" && args[0] != "clone")) {
		cmd.Dir = r.Dir
	}
	r.tick++
	when := fmt.Sprintf("@%d +0000", 1_700_000_000+r.tick)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.org", "GIT_COMMITTER_NAME=alice",
		"GIT_COMMITTER_EMAIL=alice@example.org", "GIT_AUTHOR_DATE="+when, "GIT_COMMITTER_DATE="+when, "HOME="+r.Keys)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// Git runs git in the work tree and gives its output without the last line feed.
func (r *Repo) Git(args ...string) string {
	r.tb.Helper()
	return strings.TrimSuffix(r.run("", "git", args...), "\n")
}

// Key makes an SSH key of the given ssh-keygen options ("-t", "ed25519") once
// per name and gives the path of its private half.
func (r *Repo) Key(name string, opts ...string) string {
	r.tb.Helper()
	path := filepath.Join(r.Keys, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if len(opts) == 0 {
		opts = []string{"-t", "ed25519"}
	}
	r.run("", "ssh-keygen", append([]string{"-q", "-N", "", "-C", name, "-f", path}, opts...)...)
	return path
}

// Fingerprint gives the SHA256: fingerprint of a key.
func (r *Repo) Fingerprint(name string) string {
	r.tb.Helper()
	return strings.Fields(r.run("", "ssh-keygen", "-l", "-f", r.Key(name)+".pub"))[1]
}

// Signer gives the allowed_signers line of a key.
func (r *Repo) Signer(name string) string {
	r.tb.Helper()
	pub, err := os.ReadFile(r.Key(name) + ".pub")
	if err != nil {
		r.tb.Fatal(err)
	}
	f := strings.Fields(string(pub))
	return name + ` namespaces="git" ` + f[0] + " " + f[1] + "\n"
}

// Write puts a file into the work tree; it is staged by the next commit.
func (r *Repo) Write(path, content string) {
	r.tb.Helper()
	p := filepath.Join(r.Dir, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.tb.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		r.tb.Fatal(err)
	}
}

// Signers writes .pullnode/allowed_signers with these keys.
func (r *Repo) Signers(names ...string) {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(r.Signer(n))
	}
	r.Write(".pullnode/allowed_signers", b.String())
}

// Commit commits everything, signed by the named key; "" leaves it unsigned.
// It gives the commit's id.
func (r *Repo) Commit(key, message string, opts ...string) string {
	r.tb.Helper()
	r.Git("add", "-A")
	r.Git(append(r.signing(key), append([]string{"commit", "-q", "--allow-empty", "-m", message}, opts...)...)...)
	return r.Head()
}

// Merge merges another branch or commit with a merge commit signed by key.
func (r *Repo) Merge(key, other string, opts ...string) string {
	r.tb.Helper()
	r.Git(append(r.signing(key), append([]string{"merge", "-q", "--no-ff", "-m", "merge " + other, other}, opts...)...)...)
	return r.Head()
}

func (r *Repo) signing(key string) []string {
	if key == "" {
		return []string{"-c", "commit.gpgsign=false"}
	}
	return []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + r.Key(key), "-c", "commit.gpgsign=true"}
}

// Head gives the id of the checked out commit.
func (r *Repo) Head() string { return r.Git("rev-parse", "HEAD") }

// RawCommit stores an object of the given bytes as a commit, unchecked, and
// moves the branch to it.
func (r *Repo) RawCommit(raw string) string {
	r.tb.Helper()
	id := strings.TrimSpace(r.run(raw, "git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"))
	r.Git("update-ref", "HEAD", id)
	return id
}

// Introduction gives "<commit>@<fingerprint>" for a commit signed by key.
func (r *Repo) Introduction(commit, key string) string {
	return commit + "@" + r.Fingerprint(key)
}

// Handler serves the repository as /repo by git's own HTTP server program.
func (r *Repo) Handler() http.Handler {
	r.tb.Helper()
	return &cgi.Handler{Path: r.Git("--exec-path") + "/git-http-backend", Stderr: io.Discard, InheritEnv: []string{"PATH"},
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(r.Dir), "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
}

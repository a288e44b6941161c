package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pullnode/internal/agent"
)

// node is a machine that follows the repository. What it shows is a page of text
// that is part of its system.
type node interface {
	// files gives the repository's files, path -> content, for a system that
	// shows text, or that has no page where text is empty.
	files(text string) map[string]string
	status() agent.Status
	visit() string                      // the page as the machine serves it
	generation() string                 // the newest generation
	run(args ...string) (stdout string) // pullnode on that machine
	died() <-chan struct{}              // closed when the agent has ended for good
	log() string
	close()
}

// demo is a signed configuration repository, a server for it, and a node that
// follows it; everything of it is below one temporary directory.
type demo struct {
	node
	ctx  context.Context
	dir  string
	repo string
}

func newDemo(ctx context.Context) (*demo, error) {
	dir, err := os.MkdirTemp("", "pullnode-demo-")
	if err != nil {
		return nil, err
	}
	say("everything is below %s", dir)
	return &demo{ctx: ctx, dir: dir, repo: filepath.Join(dir, "repo")}, nil
}

func (d *demo) close() {
	if d.node != nil {
		d.node.close()
	}
	// The store's files are read-only; their directories must not be.
	filepath.WalkDir(d.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	os.RemoveAll(d.dir)
}

// seed makes the configuration repository with its first signed commit.
func (d *demo) seed() (introduction string) {
	key := filepath.Join(d.dir, "alice")
	d.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", key)
	pub, _ := os.ReadFile(key + ".pub")
	f := strings.Fields(string(pub))
	d.write(".pullnode/allowed_signers", `alice namespaces="git" `+f[0]+" "+f[1]+"\n")
	d.git("init", "-q", "-b", "main")
	for _, kv := range [][2]string{{"user.name", "alice"}, {"user.email", "alice@example.org"}, {"gpg.format", "ssh"}, {"user.signingkey", key}} {
		d.git("config", kv[0], kv[1])
	}
	d.must("git", "init", "-q", "--bare", "-b", "main", filepath.Join(d.dir, "srv", "repo.git"))
	d.git("remote", "add", "origin", filepath.Join(d.dir, "srv", "repo.git"))
	d.commit(true, "pullnode: introduce")
	fp := strings.Fields(d.must("ssh-keygen", "-l", "-f", key+".pub"))[1]
	return strings.TrimSpace(d.git("rev-parse", "HEAD")) + "@" + fp
}

func (d *demo) write(path, content string) {
	p := filepath.Join(d.repo, path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		panic(rigError{err})
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		panic(rigError{err})
	}
}

// page makes the system show text, or no page where there is none.
func (d *demo) page(text string) {
	os.RemoveAll(filepath.Join(d.repo, "hosts"))
	os.RemoveAll(filepath.Join(d.repo, "site"))
	for path, content := range d.files(text) {
		d.write(path, content)
	}
}

func (d *demo) commit(signed bool, message string) {
	d.git("add", "-A")
	sign := "--no-gpg-sign"
	if signed {
		sign = "-S"
	}
	d.git("commit", "-q", "--allow-empty", sign, "-m", message)
	say("$ git commit %s -m %q && git push", sign, message)
	d.push()
}

func (d *demo) push() { d.git("push", "-q", "--force", "origin", "main") }

func (d *demo) git(args ...string) string {
	return d.must("git", append([]string{"-C", d.repo, "-c", "core.hooksPath=/dev/null"}, args...)...)
}

// rigError is what the demo's own rig gives up with; run turns it into an error.
type rigError struct{ error }

// must runs a program of the demo's own rig; where it fails there is no demo.
func (d *demo) must(name string, args ...string) string {
	os.MkdirAll(d.repo, 0o755)
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+d.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		panic(rigError{fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)})
	}
	return string(out)
}

// serve serves at an address of this machine.
func (d *demo) serve(ip string, h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return "", err
	}
	go http.Serve(l, h)
	return "http://" + l.Addr().String(), nil
}

// gitServer is git's own HTTP server program behind Go's CGI handler.
func (d *demo) gitServer() http.Handler {
	path := strings.TrimSpace(d.must("git", "--exec-path")) + "/git-http-backend"
	return &cgi.Handler{Path: path, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(d.dir, "srv"), "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, InheritEnv: []string{"PATH"},
		Stderr: io.Discard}
}

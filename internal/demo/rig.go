package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"pullnode/internal/agent"
)

//go:embed site
var site embed.FS

// demo is everything below one temporary directory.
type demo struct {
	ctx  context.Context
	dir  string
	bin  string
	repo string
	web  string // URL of the machine's web site
	died chan struct{}
	stop func()
}

func newDemo(ctx context.Context) (*demo, error) {
	dir, err := os.MkdirTemp("", "pullnode-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{ctx: ctx, dir: dir, bin: filepath.Join(dir, "pullnode"), repo: filepath.Join(dir, "repo"), died: make(chan struct{}), stop: func() {}}
	say("everything is below %s", dir)
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", d.bin, "pullnode/cmd/pullnode").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	intro := d.seed()
	gitURL, err := d.serve(d.gitServer())
	if err != nil {
		return nil, err
	}
	page := filepath.Join(dir, "node", "run", "current-system", "site", "index.html")
	d.web, err = d.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		raw, err := os.ReadFile(page)
		if err != nil {
			http.Error(w, "there is no front page", http.StatusNotFound)
			return
		}
		w.Write(raw)
	}))
	if err != nil {
		return nil, err
	}
	settings := map[string]any{"hostName": "demo", "url": gitURL + "/repo.git", "introduction": intro,
		"schedule": map[string]any{"interval": "1s", "jitter": "100ms"},
		"health": map[string]any{"settle": "100ms", "window": "10s", "interval": "300ms", "successes": 2,
			"checks": map[string]any{"site": map[string]any{"type": "http", "url": d.web}}},
		"build": map[string]any{"switchTimeout": "30s"}}
	raw, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pullnode.json")
	if err := os.WriteFile(config, raw, 0o600); err != nil {
		return nil, err
	}
	return d, d.start(config)
}

func (d *demo) start(config string) error {
	log, err := os.Create(filepath.Join(d.dir, "agent.log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(d.bin, "run", "--config", config, "--root", filepath.Join(d.dir, "node"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { cmd.Wait(); log.Close(); close(d.died) }()
	d.stop = func() { cmd.Process.Signal(os.Interrupt); <-d.died }
	return nil
}

func (d *demo) close() {
	d.stop()
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
	for _, name := range []string{"flake.nix", "build.sh"} {
		raw, err := site.ReadFile("site/" + name)
		if err != nil {
			panic(rigError{err})
		}
		d.write(name, strings.ReplaceAll(string(raw), "@system@", nixSystem()))
	}
	d.page("an empty page")
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

func nixSystem() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64", "386": "i686"}[runtime.GOARCH] + "-linux"
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

func (d *demo) page(text string) { d.write("site/index.html", text+"\n") }
func (d *demo) remove(path string) {
	os.Remove(filepath.Join(d.repo, path))
	d.write("site/.keep", "") // git keeps no empty directory
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

func (d *demo) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
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

func (d *demo) run(args ...string) string {
	out, _ := exec.CommandContext(d.ctx, d.bin, args...).CombinedOutput()
	return string(out)
}

func (d *demo) status() (s agent.Status) {
	raw, err := os.ReadFile(agent.StatusPath(filepath.Join(d.dir, "node", "run")))
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	_ = err // not there yet, or being replaced: asked again
	return s
}

func (d *demo) visit() string {
	c := http.Client{Timeout: 2 * time.Second}
	r, err := c.Get(d.web + "/")
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	return strings.TrimSpace(string(b))
}

func (d *demo) generation() string {
	to, _ := os.Readlink(filepath.Join(d.dir, "node", "profiles", "system"))
	return to
}

func (d *demo) show() {
	fmt.Printf("$ pullnode status\n%s$ pullnode history\n%s", d.run("status", "--run", filepath.Join(d.dir, "node", "run")), d.run("history", "--state", filepath.Join(d.dir, "node", "state")))
}

func (d *demo) showLog() {
	raw, _ := os.ReadFile(filepath.Join(d.dir, "agent.log"))
	fmt.Printf("agent.log:\n%s", raw)
}

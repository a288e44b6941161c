package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"pullnode/internal/agent"
	"pullnode/internal/lab"
)

//go:embed site
var site embed.FS

// plainNode is the whole loop as one process on this machine.
type plainNode struct {
	d     *demo
	bin   string
	root  string
	web   string // URL of the page
	ended chan struct{}
	stop  func()
}

// startPlain begins to follow the repository, whose first commit it makes.
func startPlain(d *demo) (node, error) {
	p := &plainNode{d: d, bin: filepath.Join(d.dir, "pullnode"), root: filepath.Join(d.dir, "node"), ended: make(chan struct{}), stop: func() {}}
	if out, err := exec.CommandContext(d.ctx, "go", "build", "-o", p.bin, "pullnode/cmd/pullnode").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	for path, content := range p.files("an empty page") {
		d.write(path, content)
	}
	intro := d.seed()
	git, err := d.serve("127.0.0.1", d.gitServer())
	if err != nil {
		return nil, err
	}
	page := filepath.Join(p.root, "run", "current-system", "site", "index.html")
	p.web, err = d.serve("127.0.0.1", pageServer(func() ([]byte, error) { return os.ReadFile(page) }))
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(settings(git, p.web, intro), "", "  ")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(d.dir, "pullnode.json")
	if err := os.WriteFile(config, raw, 0o600); err != nil {
		return nil, err
	}
	return p, p.start(config)
}

func settings(git, web, introduction string) map[string]any {
	return map[string]any{"hostName": "demo", "url": git + "/repo.git", "introduction": introduction,
		"schedule": map[string]any{"interval": "1s", "jitter": "100ms"},
		"health": map[string]any{"settle": "100ms", "window": "10s", "interval": "300ms", "successes": 2,
			"checks": map[string]any{"site": map[string]any{"type": "http", "url": web}}},
		"build": map[string]any{"switchTimeout": "30s"}}
}

// pageServer stands for a web server of the machine.
func pageServer(read func() ([]byte, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		raw, err := read()
		if err != nil {
			http.Error(w, "there is no front page", http.StatusNotFound)
			return
		}
		w.Write(raw)
	})
}

func (p *plainNode) start(config string) error {
	log, err := os.Create(filepath.Join(p.d.dir, "agent.log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(p.bin, "run", "--config", config, "--root", p.root)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { cmd.Wait(); log.Close(); close(p.ended) }()
	p.stop = func() { cmd.Process.Signal(os.Interrupt); <-p.ended }
	return nil
}

func (p *plainNode) files(text string) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"flake.nix", "build.sh"} {
		raw, err := site.ReadFile("site/" + name)
		if err != nil {
			panic(rigError{err})
		}
		out[name] = strings.ReplaceAll(string(raw), "@system@", lab.NixSystem())
	}
	out["site/.keep"] = "" // git keeps no empty directory
	if text != "" {
		out["site/index.html"] = text + "\n"
	}
	return out
}

func (p *plainNode) died() <-chan struct{} { return p.ended }
func (p *plainNode) close()                { p.stop() }

func (p *plainNode) run(args ...string) string {
	switch args[0] {
	case "status":
		args = append(args, "--run", filepath.Join(p.root, "run"))
	case "history":
		args = append(args, "--state", filepath.Join(p.root, "state"))
	}
	out, _ := exec.CommandContext(p.d.ctx, p.bin, args...).CombinedOutput()
	return string(out)
}

func (p *plainNode) status() (s agent.Status) {
	raw, err := os.ReadFile(agent.StatusPath(filepath.Join(p.root, "run")))
	if err == nil {
		_ = json.Unmarshal(raw, &s) // being replaced: asked again
	}
	return s
}

func (p *plainNode) visit() string { return visit(p.web) }

// visit gives the page as its web server serves it.
func visit(web string) string {
	c := http.Client{Timeout: 2 * time.Second}
	r, err := c.Get(web + "/")
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	return strings.TrimSpace(string(b))
}

func (p *plainNode) generation() string {
	to, _ := os.Readlink(filepath.Join(p.root, "profiles", "system"))
	return to
}

func (p *plainNode) log() string {
	raw, _ := os.ReadFile(filepath.Join(p.d.dir, "agent.log"))
	return "agent.log:\n" + string(raw)
}

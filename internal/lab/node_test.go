package lab

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"testing"
	"time"

	"pullnode/internal/gitrig"
	"pullnode/nix/units"
)

// nodeUnits gives the installed units as part of a system, so that a switch sees
// them as its own.
func nodeUnits(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"pullnode.service", "pullnode-sync.service", "pullnode-dirs.service"} {
		raw, err := units.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(raw)
	}
	return out
}

// node is a machine that runs the installed units and follows a repository that
// this process serves.
type node struct {
	t   *testing.T
	ctx context.Context
	h   *Host
	r   *gitrig.Repo
}

func (n *node) system(gen string, more map[string]string) {
	u := nodeUnits(n.t)
	maps.Copy(u, more)
	for path, text := range FlakeFiles("lab", Config{Gen: gen, Units: u}) {
		n.r.Write(path, text)
	}
}

func (n *node) status(sync, commit string) {
	n.t.Helper()
	var last []byte
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var s struct {
			Sync            string
			Running, Wanted *struct{ ID string }
		}
		last, _ = n.h.Read("/run/pullnode/status.json")
		if json.Unmarshal(last, &s) != nil || s.Sync != sync {
			continue
		}
		if s.Running != nil && s.Running.ID == commit || s.Wanted != nil && s.Wanted.ID == commit {
			return
		}
	}
	log, _ := n.h.Run(n.ctx, "journalctl", "--no-pager", "-n", "80", "-o", "cat")
	n.t.Fatalf("want %s about %s, status is %s\n%s", sync, commit, last, log)
}

// TestInstalledNode is the thin slice through all layers as installed, sandboxed
// units: deploy, refuse, revert, git revert.
func TestInstalledNode(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		bin, err := GoBinary(ctx, "pullnode/cmd/pullnode")
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, ctx: ctx, r: gitrig.New(t)}
		n.r.Signers("alice")
		n.system("one", nil)
		intro := n.r.Commit("alice", "introduce")

		_, n.h = boot(t, Options{Release: release, Name: "lab", Network: true, Files: map[string]string{"/usr/bin/pullnode": bin}})
		settings, err := json.Marshal(map[string]any{"hostName": "lab", "url": "http://" + n.serve() + "/repo",
			"introduction": n.r.Introduction(intro, "alice"),
			"schedule":     map[string]any{"interval": "1s", "jitter": "1ms"},
			"health":       map[string]any{"settle": "500ms", "window": "5s", "interval": "500ms", "successes": 2},
			"lifeline":     map[string]any{"window": "10s"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.h.Write("/etc/pullnode/pullnode.json", settings); err != nil {
			t.Fatal(err)
		}
		first := build(ctx, t, n.h, Config{Gen: "zero", Units: nodeUnits(t)})
		if err := n.h.Install(ctx, first); err != nil {
			t.Fatal(err)
		}
		if err := n.h.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		n.status("in-sync", intro)

		n.system("two", nil)
		two := n.r.Commit("alice", "two")
		n.status("in-sync", two)
		n.status("refused", n.r.Commit("", "unsigned"))
		n.r.Git("reset", "-q", "--hard", two)
		n.system("three", map[string]string{"broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"})
		n.status("held", n.r.Commit("alice", "a unit that fails"))
		n.r.Git("revert", "-n", "HEAD")
		n.status("in-sync", n.r.Commit("alice", "Revert"))
	})
}

func (n *node) serve() string {
	n.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(n.h.Gateway, "0"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	go http.Serve(l, n.r.Handler())
	return l.Addr().String()
}

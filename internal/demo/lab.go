package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"pullnode/internal/agent"
	"pullnode/internal/lab"
)

// labNode is a machine of its own under systemd-nspawn, with the installed,
// sandboxed units.
type labNode struct {
	d        *demo
	h        *lab.Host
	web      string
	settings map[string]any
}

// startLab boots the machine into a first system.
func startLab(d *demo) (node, error) {
	bin, err := lab.GoBinary(d.ctx, "pullnode/cmd/pullnode")
	if err != nil {
		return nil, err
	}
	say("booting a machine; the first time its root file system is made, which takes minutes")
	h, err := lab.Boot(d.ctx, lab.Options{Release: "trixie", Name: "demo", Network: true, Files: map[string]string{"/usr/bin/pullnode": bin}})
	if err != nil {
		return nil, err
	}
	n := &labNode{d: d, h: h}
	if err := n.install(); err != nil {
		h.Close()
		return nil, err
	}
	return n, nil
}

func (n *labNode) install() error {
	git, err := n.d.serve(n.h.Gateway, n.d.gitServer())
	if err != nil {
		return err
	}
	n.web, err = n.d.serve(n.h.Gateway, pageServer(func() ([]byte, error) {
		system, err := n.h.Current(n.d.ctx)
		if err != nil {
			return nil, err
		}
		return n.h.Read(filepath.Join(system, "site/index.html"))
	}))
	if err != nil {
		return err
	}
	n.settings = settings(git, n.web, n.d.seed())
	c, err := n.config("an empty page")
	if err != nil {
		return err
	}
	top, err := n.h.Build(n.d.ctx, c)
	if err != nil {
		return err
	}
	if err := n.h.Install(n.d.ctx, top); err != nil {
		return err
	}
	return n.h.Reboot(n.d.ctx)
}

func (n *labNode) config(text string) (lab.Config, error) {
	c := lab.Config{Gen: "demo"}
	if text != "" {
		c.Files = map[string]string{"site/index.html": text + "\n"}
	}
	return lab.Installed(c, n.settings)
}

func (n *labNode) files(text string) map[string]string {
	c, err := n.config(text)
	if err != nil {
		panic(rigError{err})
	}
	return lab.FlakeFiles("demo", c)
}

func (n *labNode) run(args ...string) string {
	out, err := n.h.Run(n.d.ctx, append([]string{"pullnode"}, args...)...)
	if err != nil {
		return out + err.Error() + "\n"
	}
	return out
}

func (n *labNode) status() (s agent.Status) {
	raw, err := n.h.Read(agent.StatusPath("/run/pullnode"))
	if err == nil {
		_ = json.Unmarshal(raw, &s) // being replaced: asked again
	}
	return s
}

func (n *labNode) visit() string { return visit(n.web) }

func (n *labNode) generation() string {
	out, err := n.h.Run(n.d.ctx, "readlink", "/nix/var/nix/profiles/system")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// died never says so: systemd starts the agent again.
func (n *labNode) died() <-chan struct{} { return nil }

func (n *labNode) log() string {
	out, err := n.h.Run(n.d.ctx, "journalctl", "--no-pager", "-n", "100", "-u", "pullnode*")
	return fmt.Sprintf("journal (%v):\n%s", err, out)
}

func (n *labNode) close() {
	if err := n.h.Close(); err != nil {
		say("demo: %v", err)
	}
}

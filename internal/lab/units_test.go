package lab

import (
	"net"
	"strings"
	"testing"
)

// tells is a unit that writes which system runs while it is stopped.
func tells(gen, more string) string {
	return "[Service]\nEnvironment=GEN=" + gen + "\nExecStart=/bin/sleep infinity\n" +
		"ExecStop=/bin/sh -c 'readlink /run/current-system >> /run/stopped-%N'\n" + more + "[Install]\nWantedBy=multi-user.target\n"
}

// Each X- setting that pullnode's units use does what NixOS says it does.
func TestUnitSettings(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		units := func(gen string) map[string]string {
			return map[string]string{
				"first.service": tells(gen, ""),                                      // stopped first, started at the end
				"after.service": tells(gen, "X-StopIfChanged=false\n"),               // restarted after the activation
				"never.service": tells(gen, "X-RestartIfChanged=false\n"),            // not touched
				"same.service":  tells("", ""),                                       // not changed
				"quiet.service": "[Unit]\nDescription=" + gen + "\n" + tells("", ""), // changed only for people
			}
		}
		one := units("A")
		one["gone.service"], one["stays.service"] = tells("A", ""), "[Unit]\nX-StopOnRemoval=false\n"+tells("A", "")
		ctx, h, a := installed(t, Options{Release: release}, Config{Gen: "A", Units: one})
		run(ctx, t, h, "systemd-run", "--quiet", "--unit=transient", "sleep", "infinity")
		pids := map[string]string{}
		for u := range one {
			pids[u] = property(ctx, t, h, u, "MainPID")
		}
		pids["transient.service"] = property(ctx, t, h, "transient", "MainPID")
		two := units("B")
		two["new.service"] = tells("B", "")
		b := build(ctx, t, h, Config{Gen: "B", Units: two})
		if got := do(ctx, t, h, b, "test"); got != 0 {
			t.Fatalf("test of B: %d", got)
		}
		for _, c := range []struct {
			unit    string
			same    bool   // the process is the one from before
			stopped string // while which system it was stopped
			active  string
		}{
			{"first", false, a, "active"},
			{"after", false, b, "active"},
			{"never", true, "", "active"},
			{"same", true, "", "active"},
			{"quiet", true, "", "active"},
			{"gone", false, a, "inactive"},
			{"stays", true, "", "active"},
			{"new", false, "", "active"},
			{"transient", true, "", "active"},
		} {
			pid := property(ctx, t, h, c.unit, "MainPID")
			if got := pid == pids[c.unit+".service"]; got != c.same {
				t.Errorf("%s: process %s, before %s", c.unit, pid, pids[c.unit+".service"])
			}
			raw, _ := h.Read("/run/stopped-" + c.unit)
			if got := strings.TrimSpace(string(raw)); got != c.stopped {
				t.Errorf("%s was stopped while %q ran, want %q", c.unit, got, c.stopped)
			}
			if got := property(ctx, t, h, c.unit, "ActiveState"); got != c.active {
				t.Errorf("%s is %s, want %s", c.unit, got, c.active)
			}
		}
	})
}

// An agent that runs the switch as its own child is stopped by it and takes it
// along; the next switch, of the old system, replays what was left.
func TestSwitchAsChild(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		agent := func(gen string) map[string]string {
			return map[string]string{"agent.service": "[Service]\nEnvironment=GEN=" + gen + `
ExecStart=/bin/sh -c 'until [ -s /run/go ]; do sleep 0.1; done; $$(cat /run/go)/bin/switch-to-configuration test; echo $$? > /run/rc; exec sleep infinity'
[Install]
WantedBy=multi-user.target
`}
		}
		ctx, h, a := installed(t, Options{Release: release}, Config{Gen: "A", Units: agent("A")})
		b := build(ctx, t, h, Config{Gen: "B", Units: agent("B")})
		if err := h.Write("/run/go", []byte(b)); err != nil {
			t.Fatal(err)
		}
		run(ctx, t, h, "sh", "-c", "while systemctl -q is-active agent; do sleep 0.1; done")
		is(ctx, t, h, a)
		if _, err := h.Read("/run/rc"); err == nil {
			t.Error("the switch outlived its parent")
		}
		left, err := h.Read("/run/nixos/start-list")
		if err != nil || !strings.Contains(string(left), "agent.service") {
			t.Errorf("the list of the interrupted run: %q, %v", left, err)
		}
		run(ctx, t, h, "rm", "/run/go")
		if got := do(ctx, t, h, a, "test"); got != 0 {
			t.Errorf("back to A: %d", got)
		}
		if got := property(ctx, t, h, "agent", "ActiveState"); got != "active" {
			t.Errorf("agent is %s", got)
		}
	})
}

// What pullnode's own units need of PID 1 works in a machine.
func TestSandboxes(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, h := boot(t, Options{Release: release})
		for _, c := range []struct {
			script, want string
			properties   []string
		}{
			{"id -un; touch /var/lib/st/x; stat -c %U /var/lib/st/x", "dyn\ndyn", []string{"DynamicUser=yes", "User=dyn", "StateDirectory=st"}},
			{"touch /etc/x 2>&1 | grep -o 'Read-only'", "Read-only", []string{"ProtectSystem=strict"}},
			{"ls /sys/class/net", "lo", []string{"PrivateNetwork=yes", "PrivateMounts=yes", "MountAPIVFS=yes"}},
			{"nix store ping >/dev/null 2>&1 && echo yes", "yes", []string{"DynamicUser=yes", "User=dyn", "SupplementaryGroups=nix-users",
				"CacheDirectory=dyn", "Environment=NIX_REMOTE=daemon HOME=/var/cache/dyn"}},
			{"cat $CREDENTIALS_DIRECTORY/secret", "word", []string{"SetCredential=secret:word"}},
		} {
			argv := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect"}
			for _, p := range c.properties {
				argv = append(argv, "--property="+p)
			}
			if got := run(ctx, t, h, append(argv, "sh", "-c", c.script)...); got != c.want {
				t.Errorf("%v: %q, want %q", c.properties, got, c.want)
			}
		}
	})
}

// The modes that only a machine with units shows.
func TestModes(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		agent := map[string]string{"pullnode.service": "[Unit]\nX-StopOnRemoval=false\n[Service]\nType=exec\nExecStart=/bin/sleep infinity\nX-StopIfChanged=false\n[Install]\nWantedBy=multi-user.target\n"}
		ctx, h, a := installed(t, Options{Release: release, Network: true}, Config{Gen: "A", Units: agent})
		ping := func() bool { return ip(ctx, "neigh flush dev", h.net.cable) == nil && reachable(h) }
		if !reachable(h) {
			t.Fatal("the machine cannot be reached")
		}
		l, err := net.Listen("tcp", net.JoinHostPort(h.Gateway, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				c.Write([]byte("hello\n"))
				c.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if got := run(ctx, t, h, "bash", "-c", "cat < /dev/tcp/"+h.Gateway+"/"+port); got != "hello" {
			t.Errorf("from the machine: %q", got)
		}
		for _, c := range []struct {
			mode  string
			want  int
			check func() string
		}{
			{"slow", 0, func() string { return property(ctx, t, h, "slow", "ActiveState") + "=active" }},
			{"noagent", 0, func() string { // X-StopOnRemoval=false: the old one runs on
				return property(ctx, t, h, "pullnode", "ActiveState") + property(ctx, t, h, "pullnode", "LoadState") + "=activenot-found"
			}},
			{"badagent", 4, func() string { return property(ctx, t, h, "pullnode", "ActiveState") + "=failed" }},
			{"netcut", 0, func() string {
				if ping() {
					return "reachable=unreachable"
				}
				return "="
			}},
		} {
			top := build(ctx, t, h, Config{Gen: "B", Mode: c.mode, Units: agent})
			if got := do(ctx, t, h, top, "test"); got != c.want {
				t.Errorf("%s: %d, want %d", c.mode, got, c.want)
			}
			if got, want, _ := strings.Cut(c.check(), "="); got != want {
				t.Errorf("%s: %s, want %s", c.mode, got, want)
			}
			if got := do(ctx, t, h, a, "test"); got != 0 {
				t.Fatalf("back to A after %s: %d", c.mode, got)
			}
			if !ping() {
				t.Errorf("after %s and back the machine cannot be reached", c.mode)
			}
		}
		// A crash loop is no failure to the switch: only its restarts tell.
		flap := build(ctx, t, h, Config{Gen: "B", Mode: "flap", Units: agent})
		do(ctx, t, h, flap, "test")
		run(ctx, t, h, "sh", "-c", "until [ $(systemctl show --value -p NRestarts flap) -ge 2 ]; do sleep 0.2; done")
	})
}

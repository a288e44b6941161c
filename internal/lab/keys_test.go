package lab

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"pullnode/internal/gitrig"
	"pullnode/keysrc/keysrctest"
	"pullnode/nix/units"
)

const (
	keyFile    = "/var/lib/host.age"
	credential = "/etc/pullnode/host.age.cred"
)

// secretsSh stands in for sops-nix: it needs the key while the switch runs,
// copies it and leaves the copy behind. What it saw is in /run/seen.
const secretsSh = `set -eu
f=/run/pullnode-handoff/age.key
mkdir -p /run/seen /run/secrets.d
stat -f -c %T $f > /run/seen/$1.new
stat -c '%a %U' $f >> /run/seen/$1.new
cat $f > /run/secrets.d/age-keys.txt
grep AGE-SECRET-KEY $f >> /run/seen/$1.new
mv /run/seen/$1.new /run/seen/$1
`

// slowUnit keeps a switch waiting until the test lets it go on.
const slowUnit = "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sh -c 'until [ -e /run/go ]; do sleep 0.1; done'\n[Install]\nWantedBy=multi-user.target\n"

const brokenUnit = "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n"

// keyNode is a node whose systems have secrets.
type keyNode struct {
	*node
	id *age.X25519Identity
}

// keyed gives a system with the units of the keys and one that needs the key.
func (n *keyNode) keyed(gen string, more map[string]string) Config {
	u := map[string]string{}
	for _, name := range []string{"pullnode.service", "pullnode-sync.service", "pullnode-dirs.service", "pullnode-keys.service", "pullnode-keys.socket", "pullnode-handoff.service", "pullnode-hold.service"} {
		raw, err := units.Files.ReadFile(name)
		if err != nil {
			n.t.Fatal(err)
		}
		u[name] = string(raw)
	}
	for _, name := range []string{"keys", "handoff"} {
		u["pullnode-"+name+".service.d/credential.conf"] = "[Service]\nLoadCredential=host.age:" + credential + "\n"
	}
	// A switch that brings another version of it must not lose the key.
	u["pullnode-handoff.service.d/gen.conf"] = "[Unit]\nDescription=pullnode: hand the age identity over as a file, " + gen + "\n"
	if gen != "zero" {
		u["secrets.service"] = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh @toplevel@/secrets.sh " + gen + "\n[Install]\nWantedBy=multi-user.target\n"
	}
	maps.Copy(u, more)
	return Config{Gen: gen, Units: u, Files: map[string]string{"secrets.sh": secretsSh}}
}

func (n *keyNode) commit(gen string, more map[string]string) string {
	for path, text := range FlakeFiles("lab", n.keyed(gen, more)) {
		n.r.Write(path, text)
	}
	return n.r.Commit("alice", gen)
}

func (n *keyNode) secret(name string, for_ *age.X25519Identity) {
	n.r.Write("secrets/"+name, keysrctest.SOPS(n.t, for_.Recipient().String()))
}

func (n *keyNode) sh(script string) string {
	n.t.Helper()
	return run(n.ctx, n.t, n.h, "sh", "-c", script)
}

// until waits for a shell condition in the machine.
func (n *keyNode) until(what, script string) {
	n.t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if _, err := n.h.Run(n.ctx, "sh", "-c", script); err == nil {
			return
		}
	}
	log, _ := n.h.Run(n.ctx, "journalctl", "--no-pager", "-n", "80", "-o", "short-monotonic")
	n.t.Fatalf("never: %s\n%s", what, log)
}

// saw checks what the switch to gen found, and forgets it.
func (n *keyNode) saw(gen string) {
	n.t.Helper()
	n.until("the switch to "+gen+" sees the key", "test -e /run/seen/"+gen)
	if got, want := n.sh("cat /run/seen/"+gen), "ramfs\n400 root\n"+n.id.String(); got != want {
		n.t.Errorf("the switch to %s saw %q, want %q", gen, got, want)
	}
	n.sh("rm /run/seen/*")
}

// gone waits until nothing of the key is left and checks that systemd is content.
func (n *keyNode) gone() {
	n.t.Helper()
	n.until("the key is gone", `! test -e /run/pullnode-handoff && ! grep -q pullnode-handoff /proc/1/mountinfo && ! test -e /run/secrets.d/age-keys.txt`)
	if state := property(n.ctx, n.t, n.h, "pullnode-handoff.service", "ActiveState"); state != "inactive" {
		n.t.Errorf("pullnode-handoff.service is %s", state)
	}
	if left := n.sh("grep -rlI AGE-SECRET-KEY /run --exclude-dir=seen --exclude-dir=credentials || true"); left != "" {
		n.t.Errorf("the key is left in %s", left)
	}
}

func (n *keyNode) why() string {
	n.t.Helper()
	raw, err := n.h.Read("/run/pullnode/status.json")
	if err != nil {
		n.t.Fatal(err)
	}
	var s struct{ Why []string }
	if err := json.Unmarshal(raw, &s); err != nil {
		n.t.Fatal(err)
	}
	return strings.Join(s.Why, "\n")
}

// whileAgentDead kills the agent in the middle of the switch to gen and lets the
// switch come to its end; the agent stays dead.
func (n *keyNode) whileAgentDead(gen string) {
	n.t.Helper()
	n.until("the switch to "+gen, "test -e /run/seen/"+gen+" && systemctl is-active -q 'pullnode-switch-*'")
	n.sh("mkdir -p /run/systemd/system/pullnode.service.d && printf '[Service]\\nRestart=no\\n' > /run/systemd/system/pullnode.service.d/dead.conf && systemctl daemon-reload")
	n.sh("systemctl kill -s KILL pullnode.service")
	n.until("the agent is dead", "! systemctl is-active -q pullnode.service")
	n.sh("test -e /run/pullnode-handoff/age.key")
	n.sh("touch /run/go")
	n.until("the switch ends", "! systemctl is-active -q 'pullnode-switch-*'")
	n.saw(gen)
	n.gone()
	n.sh("! systemctl is-active -q pullnode.service && rm /run/go")
}

func (n *keyNode) revive() {
	n.t.Helper()
	n.sh("rm /run/systemd/system/pullnode.service.d/dead.conf && systemctl daemon-reload && systemctl start pullnode.service")
}

// TestInstalledNodeWithKeys shows that a switch and a revert have the key while
// they run and nobody has it afterwards, whoever dies, and that secrets which do
// not open are refused before anything is touched.
func TestInstalledNodeWithKeys(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n, other := newKeyNode(t, release), newID(t)
		intro := n.r.Head()
		n.about("in-sync", intro)
		n.saw("one")
		n.gone()
		n.log("pullnode-keys", "source=credential:host.age")
		n.log("pullnode-handoff", "source=credential:host.age")

		// The first source is there now; the process is asked anew.
		n.sh("install -m 600 " + credential + " " + keyFile + " && systemctl restart pullnode-keys.service")
		n.about("in-sync", n.commit("two", nil))
		n.saw("two")
		n.gone()
		n.log("pullnode-keys", "source=file:"+keyFile)
		n.log("pullnode-handoff", "source=file:"+keyFile)

		before, err := n.h.Current(n.ctx)
		if err != nil {
			t.Fatal(err)
		}
		n.secret("lab-db.json", other)
		n.about("failed", n.commit("refused", nil))
		for _, say := range []string{"secrets/lab-db.json: is not encrypted for this host", n.id.Recipient().String(), other.Recipient().String()} {
			if !strings.Contains(n.why(), say) {
				t.Errorf("why is %q, want %s", n.why(), say)
			}
		}
		n.sh("systemctl stop pullnode-keys.socket pullnode-keys.service")
		n.secret("lab-db.json", n.id)
		three := n.commit("three", nil)
		n.about("failed", three)
		if !strings.Contains(n.why(), "cannot be told now") {
			t.Errorf("without the keys process: %q", n.why())
		}
		is(n.ctx, t, n.h, before)
		if seen := n.sh("ls /run/seen"); seen != "" {
			t.Errorf("something switched: %s", seen)
		}
		n.sh("systemctl start pullnode-keys.socket")
		n.about("in-sync", three)
		n.saw("three")
		n.gone()

		// The agent's own revert.
		bad := n.commit("bad", map[string]string{"broken.service": brokenUnit})
		n.about("held", bad)
		n.sh("test -e /run/seen/bad")
		n.saw("three")
		n.gone()

		four := n.commit("four", map[string]string{"slow.service": slowUnit})
		n.whileAgentDead("four")
		n.revive()
		n.about("in-sync", four)

		n.commit("five", map[string]string{"slow.service": slowUnit, "more.service": "[Service]\nExecStart=/bin/sleep infinity\n"})
		n.whileAgentDead("five")
		// The guard before its time: its timer is shown elsewhere.
		n.sh("touch /run/go; systemctl start \"$(systemctl list-units --all --plain --no-legend 'pullnode-guard-*.timer' | cut -d' ' -f1 | sed s/timer/service/)\"")
		n.saw("four")
		n.until("the guard ends", "! systemctl is-active -q 'pullnode-guard-*.service'")
		n.gone()
		n.sh("case $(readlink /run/current-system) in *-four) ;; *) exit 1;; esac")
	})
}

func newID(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newKeyNode boots a machine into a system that knows where its key is.
func newKeyNode(t *testing.T, release string) *keyNode {
	bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	n := &keyNode{&node{t: t, r: gitrig.New(t)}, newID(t)}
	n.r.Signers("alice")
	n.secret("lab.json", n.id)
	intro := n.commit("one", nil)
	n.ctx, n.h = boot(t, Options{Release: release, Name: "lab", Network: true, Files: map[string]string{"/usr/bin/pullnode": bin}})
	n.explain()
	n.web = serve(t, n.h.Gateway, n.r.Handler())
	n.configure(map[string]any{"hostName": "lab", "url": n.web.url("/repo"),
		"introduction": n.r.Introduction(intro, "alice"),
		"schedule":     map[string]any{"interval": "1s", "jitter": "1ms"},
		"health":       map[string]any{"settle": "500ms", "window": "5s", "interval": "500ms", "successes": 2},
		"lifeline":     map[string]any{"window": "10s"},
		"keys": map[string]any{"handoff": "file", "recipient": n.id.Recipient().String(), "sources": []any{
			map[string]any{"type": "file", "path": keyFile}, map[string]any{"type": "credential", "name": "host.age"}}}})
	if err := n.h.Write(credential, []byte(n.id.String()+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := n.h.Install(n.ctx, build(n.ctx, t, n.h, n.keyed("zero", nil))); err != nil {
		t.Fatal(err)
	}
	if err := n.h.Reboot(n.ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *keyNode) configure(s map[string]any) {
	n.t.Helper()
	raw, err := json.Marshal(s)
	if err == nil {
		err = n.h.Write("/etc/pullnode/pullnode.json", raw)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// log wants a text in a unit's journal.
func (n *keyNode) log(unit, text string) {
	n.t.Helper()
	lines := strings.Split(run(n.ctx, n.t, n.h, "journalctl", "--no-pager", "-o", "cat", "-u", unit), "\n")
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, text) }) {
		n.t.Errorf("%s does not say %s:\n%s", unit, text, strings.Join(lines, "\n"))
	}
	for _, l := range lines {
		if strings.Contains(l, "AGE-SECRET-KEY") {
			n.t.Errorf("%s logs the key", unit)
		}
	}
}

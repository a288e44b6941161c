package lab

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/internal/gitrig"
	"pullnode/nix/units"
)

// askSh stands in for sops-nix with sops.age.plugins: it decrypts with the age CLI
// and its plugin, and has no key.
const askSh = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'age -d -i /run/pullnode-keys/age-plugin.txt /etc/secret.age > /run/secret-%N.new && mv /run/secret-%N.new /run/secret-%N'\n"

// newPluginNode boots a machine whose secrets are installed before sysinit.target
// and after it, and whose key is away.
func newPluginNode(t *testing.T, release string) *keyNode {
	bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	ageCLI, err := exec.LookPath("age")
	if err != nil {
		t.Fatal("this test needs age: apt-get install age")
	}
	n := &keyNode{&node{t: t, r: gitrig.New(t)}, newID(t)}
	n.r.Signers("alice")
	intro := n.r.Commit("alice", "begin")
	n.ctx, n.h = boot(t, Options{Release: release, Name: "lab", Files: map[string]string{
		"/usr/bin/pullnode": bin, "/usr/bin/age-plugin-pullnode": bin, "/usr/bin/age": ageCLI}})
	n.explain()
	n.configure(map[string]any{"hostName": "lab", "url": "/srv/repo", "introduction": n.r.Introduction(intro, "alice"),
		"keys": map[string]any{"recipient": n.id.Recipient().String(), "sources": []any{map[string]any{"type": "file", "path": keyFile}}}})
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, n.id.Recipient())
	if err == nil {
		_, err = io.WriteString(w, "for this host")
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = n.h.Write("/etc/secret.age", sealed.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	u := map[string]string{
		"early.service": "[Unit]\nDefaultDependencies=no\nAfter=pullnode-keys.socket local-fs.target\nWants=pullnode-keys.socket\nBefore=sysinit.target\n" + askSh +
			"[Install]\nWantedBy=sysinit.target pullnode-secrets.target\n",
		"late.service": "[Unit]\nAfter=pullnode-keys.socket\n" + askSh + "[Install]\nWantedBy=multi-user.target pullnode-secrets.target\n",
	}
	for _, name := range []string{"pullnode-keys.service", "pullnode-keys.socket", "pullnode-hold.service", "pullnode-await-key.service", "pullnode-secrets.target"} {
		raw, err := units.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		u[name] = string(raw)
	}
	if err := n.h.Install(n.ctx, build(n.ctx, t, n.h, Config{Gen: "one", Units: u})); err != nil {
		t.Fatal(err)
	}
	if err := n.h.Reboot(n.ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestInstalledNodePlugin shows secrets that are installed through the plugin, before
// and after sysinit.target, at once and when the key comes late; and that the key
// is nowhere but where it belongs.
func TestInstalledNodePlugin(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newPluginNode(t, release)
		n.until("the boot is over without the key", "systemctl is-active -q multi-user.target && systemctl is-failed -q early.service && systemctl is-failed -q late.service")
		n.log("pullnode-keys", "secrets are missing")
		n.log("early", "no key: file:"+keyFile+": absent")

		if err := n.h.Write(keyFile, []byte(n.id.String()+"\n")); err != nil {
			t.Fatal(err)
		}
		n.sh("chmod 600 " + keyFile)
		n.installed("early", "late")
		n.log("pullnode-keys", "the key has come")
		if show := n.sh("pullnode key show"); !strings.Contains(show, n.id.Recipient().String()) || !strings.Contains(show, "memory   ") {
			t.Errorf("key show says %s", show)
		}

		if err := n.h.Reboot(n.ctx); err != nil {
			t.Fatal(err)
		}
		n.installed("early", "late")
		if cycle := n.sh("journalctl -b --no-pager | grep -i 'ordering cycle' || true"); cycle != "" {
			t.Errorf("the boot has %s", cycle)
		}
		n.sh("grep -q '\"event\":\"unwrap\".*\"program\":\"age-plugin-pull\"' /var/log/pullnode-keys/audit.jsonl")

		// While something that wants it runs, and not longer.
		n.sh("systemd-run -q --unit=try -p Wants=pullnode-hold.service -p After=pullnode-hold.service sleep infinity")
		n.until("the key is held for the try", "test -e /run/pullnode-keys/hold && pullnode key show | grep -q 'is being tried'")
		n.sh("systemctl stop try.service")
		n.until("the try is over", "! test -e /run/pullnode-keys/hold")

		n.nowhere()
		n.sh("systemctl stop pullnode-keys.service && systemctl start pullnode-keys.service")
		if show := n.sh("pullnode key show"); !strings.Contains(show, "no key is held") {
			t.Errorf("after a stop: %s", show)
		}
	})
}

func (n *keyNode) installed(names ...string) {
	n.t.Helper()
	for _, name := range names {
		n.until(name+" has its secret", "test -e /run/secret-"+name)
		if got := n.sh("cat /run/secret-" + name); got != "for this host" {
			n.t.Errorf("%s has %q", name, got)
		}
	}
}

// nowhere looks for the key in every file and in the journal, after it has shown
// that it would find one.
func (n *keyNode) nowhere() {
	n.t.Helper()
	look := "grep -rlIs " + n.id.String()[15:60] + " /run /tmp /var /etc --exclude=host.age --exclude-dir=nspawn || true; journalctl --no-pager | grep -c " + n.id.String()[15:60] + " || true"
	n.sh("echo " + n.id.String() + " > /run/planted")
	if got := n.sh(look); !strings.Contains(got, "/run/planted") {
		n.t.Fatalf("the search does not find a planted key: %s", got)
	}
	n.sh("rm /run/planted")
	if got := n.sh(look); got != "0" {
		n.t.Errorf("the key is in %s", got)
	}
}

package lab

import (
	"os"
	"os/exec"
	"strings"
)

// denied: a source that is there and says no, or gives something else, is an alarm,
// and the spare behind it is not asked.
func denied(n *secretHost) {
	server, good := n.server.source(n.keyNode), fileAt(spareKey)
	write := func(path, text string) {
		n.t.Helper()
		if err := n.h.Write(path, []byte(text)); err != nil {
			n.t.Fatal(err)
		}
		n.sh("chmod 600 " + path)
	}
	write(spareKey, n.id.String())
	me := n.id.Recipient().String()
	const other = "/var/lib/other.age"
	for _, c := range []struct {
		what      string
		sources   []map[string]any
		do, undo  func()
		say, show string
	}{
		{"denied", []map[string]any{server, good}, func() { n.server.rule("deny", "stolen") }, func() { n.server.rule("deny", nil) }, "denied", "denied"},
		{"wrong", []map[string]any{fileAt(other), server}, func() { write(other, newID(n.t).String()) }, func() { n.sh("rm " + other) }, "wrong key", me},
		{"damaged", []map[string]any{fileAt(other), server}, func() { write(other, "AGE-SECRET-KEY-1GARBAGE") }, func() { n.sh("rm " + other) }, "file:" + other, "file:" + other},
	} {
		c.do()
		n.use(n.keysOf(me, c.sources...), nil)
		failed, log := n.ask()
		if !failed || !strings.Contains(log, "level=ERROR msg=\"alarm: ") || !strings.Contains(log, c.say) || strings.Contains(log, "acquired the key") {
			n.t.Errorf("%s: failed is %v, and the keys process says %s", c.what, failed, log)
		}
		if show := n.sh("pullnode key show"); !strings.Contains(show, "no key is held") || !strings.Contains(show, c.show) {
			n.t.Errorf("%s: key show says %s", c.what, show)
		}
		n.sh("! test -e /run/secrets && ! systemctl is-active -q app.service")
		n.sh(`grep -q '"event":"alarm"' /var/log/pullnode-keys/audit.jsonl`)
		// Put right, it comes by itself.
		c.undo()
		n.here()
	}
	n.sh("rm " + spareKey)
}

func (n *secretHost) gitSource(url string) map[string]any {
	n.t.Helper()
	pub, err := os.ReadFile(n.r.Key("server") + ".pub")
	if err != nil {
		n.t.Fatal(err)
	}
	return map[string]any{"type": "git", "url": url, "file": "keys/lab.age.age", "unlock": "ssh-host-key", "keyFile": deployKey, "hostKey": strings.TrimSpace(string(pub))}
}

// fromGit: the fetching process has the network and the deploy key, the keys process
// has neither.
func fromGit(n *secretHost) {
	cmd := exec.Command("age", "-r", n.machine)
	cmd.Stdin = strings.NewReader(n.id.String() + "\n")
	sealed, err := cmd.Output()
	if err != nil {
		n.t.Fatal(err)
	}
	n.repo.Write("keys/lab.age.age", string(sealed))
	n.repo.Commit("", "the host's key")
	addr := n.serveSSH()
	n.use(n.keysOf(n.id.Recipient().String(), n.gitSource("ssh://root@"+addr+n.repo.Dir)), nil)
	n.boot()
	n.here()
	n.log("pullnode-keys", "source=git:")
	if fetching := n.sh("systemctl list-units --all --plain --no-legend 'pullnode-keyfetch@*'; ls -d /run/pullnode-keyfetch-* 2>/dev/null || true"); fetching != "" {
		n.t.Errorf("left of the fetch: %s", fetching)
	}
}

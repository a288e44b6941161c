package lab

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// nowhere: while the key is held it is in one place, after it nowhere.
func nowhere(n *secretHost) {
	key := tracesOf(n.t, n.id.String())
	n.finds()
	show := n.sh("pullnode key show")
	if strings.Contains(show, "memory   memfd_secret") {
		n.t.Errorf("this boot must not have memfd_secret: %s", show)
	}
	held := n.h.scan(n.t, key)
	if in := held.in("memory of pullnode "); len(held.hits) != 1 || len(in) != 1 || in[0].forms != "text" {
		n.t.Errorf("in locked memory the key is once, as text; found %v", held.hits)
	}
	for end := time.Now().Add(5 * time.Minute); strings.Contains(n.sh("pullnode key show"), "source   "); time.Sleep(time.Second) {
		if time.Now().After(end) {
			n.t.Fatal("the key is never dropped")
		}
	}
	if s := n.h.scan(n.t, key); len(s.hits) != 0 {
		n.t.Errorf("after the activation the key is in %v", s.hits)
	}

	// On a kernel that has memfd_secret not even root reads what is held.
	fd, err := unix.MemfdSecret(0)
	if err != nil {
		n.t.Logf("not shown, as this kernel has no memfd_secret: %v", err)
		return
	}
	unix.Close(fd)
	keys := n.keysOf(n.id.Recipient().String(), n.server.source(n.keyNode))
	keys["hold"] = "uptime"
	n.use(keys, nil)
	n.h.Syscalls = []string{"memfd_secret"}
	n.boot()
	n.here()
	if show := n.sh("pullnode key show"); !strings.Contains(show, "memory   memfd_secret") || !strings.Contains(show, "hold     uptime") {
		n.t.Fatalf("key show says %s", show)
	}
	s := n.h.scan(n.t, key)
	if len(s.hits) != 0 || s.forbidden == 0 {
		n.t.Errorf("the key is held in memory that nobody may read (%d bytes seen) and found in %v", s.forbidden, s.hits)
	}
}

// finds shows that the scan sees a key wherever one could be, in every form.
func (n *secretHost) finds() {
	n.t.Helper()
	decoy, err := age.GenerateX25519Identity()
	if err != nil {
		n.t.Fatal(err)
	}
	tr := tracesOf(n.t, decoy.String())
	raw := tr["scalar"]
	for path, text := range map[string]string{"/run/planted": decoy.String(), "/var/lib/planted": string(raw), "/tmp/planted": string(tr["hex"]),
		"/opt/planted": string(tr["text in base64 at 1"])} {
		if err := n.h.Write(path, []byte(text)); err != nil {
			n.t.Fatal(err)
		}
	}
	n.sh("nix-store --add /opt/planted && logger " + decoy.String() + " && journalctl --sync")
	// A process that has it in its memory and nowhere else: as text, then as bytes.
	var procs []*exec.Cmd
	for _, input := range []string{decoy.String(), string(raw)} {
		cmd, err := n.h.Command(n.ctx, "perl", "-e", `read STDIN, $x, 4096; print "ready\n"; $| = 1; print "\n"; sleep 3600`)
		if err != nil {
			n.t.Fatal(err)
		}
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = out.Read(make([]byte, 16))
		}
		if err != nil {
			n.t.Fatal(err)
		}
		procs = append(procs, cmd)
	}
	s := n.h.scan(n.t, tr)
	for _, p := range procs {
		p.Process.Kill()
		p.Wait()
	}
	for where, form := range map[string]string{"/run/planted": "text", "/var/lib/planted": "scalar", "/tmp/planted": "hex", "/nix/store/": "text in base64 at 1",
		"journal": "text", "memory of perl ": "text", "/var/log/journal": "text"} {
		if where == "/var/log/journal" && len(s.in("/run/log/journal")) > 0 {
			continue // this machine keeps it in memory
		}
		if hits := s.in(where); len(hits) == 0 || hits[0].forms != form {
			n.t.Errorf("planted in %s as %s, found %v", where, form, hits)
		}
	}
	if !strings.Contains(fmt.Sprint(s.in("memory of perl ")), "scalar") {
		n.t.Errorf("planted in the memory of a process as bytes, found %v", s.in("memory of perl "))
	}
	n.sh("pkill perl; rm /run/planted /var/lib/planted /tmp/planted")
}

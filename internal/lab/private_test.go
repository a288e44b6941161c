package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pullnode/internal/gitrig"
)

const token = "s3cret-token"

// serveTLS serves the repository over HTTPS to who shows the token. It gives the
// address, the server's certificate, and how often somebody came without.
func (n *node) serveTLS() (addr string, cert []byte, refused *atomic.Int64) {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP(n.h.Gateway)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		n.t.Fatal(err)
	}
	l, err := tls.Listen("tcp", net.JoinHostPort(n.h.Gateway, "0"), &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	refused = new(atomic.Int64)
	git := n.r.Handler()
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, password, _ := q.BasicAuth(); password != token {
			refused.Add(1)
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, q)
	})}
	go server.Serve(l)
	return l.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), refused
}

// serveSSH serves the repository by OpenSSH's server to who has the deploy key.
func (n *node) serveSSH() (addr string) {
	n.t.Helper()
	pub, err := os.ReadFile(n.r.Key("deploy") + ".pub")
	if err != nil {
		n.t.Fatal(err)
	}
	os.MkdirAll("/run/sshd", 0o755) // Debian's privilege separation directory
	l, err := net.Listen("tcp", net.JoinHostPort(n.h.Gateway, "0"))
	if err != nil {
		n.t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := n.t.TempDir()
	put(n.t, dir, map[string]string{"keys": string(pub), "conf": fmt.Sprintf("Port %s\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s/keys\n"+
		"PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPidFile none\n",
		port, n.h.Gateway, n.r.Key("server"), dir)})
	if err := need("/usr/sbin/sshd", "openssh-server"); err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "conf"))
	var said bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &said, time.Second // a session outlives its server
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if n.t.Failed() {
			n.t.Logf("sshd: %s", tail(said.Bytes(), 4000))
		}
	})
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
	}
	n.t.Fatal("sshd does not listen")
	return ""
}

// TestInstalledNodePrivate follows a private repository over HTTPS with a token,
// then over SSH with a deploy key. The remote is all that the lifeline has, so
// nothing would be kept if its unit could not log in. It also runs checks as a
// user of the machine and as nobody in particular.
func TestInstalledNodePrivate(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, r: gitrig.New(t)}
		// Where only root can look: systemd reads it, the units could not.
		drop := map[string]string{"pullnode-sync.service.d/credentials.conf": "[Service]\nLoadCredential=origin.token:/root/token\nLoadCredential=origin.key:/root/deploy\n"}
		n.r.Signers("alice")
		intro := n.r.Commit("alice", "introduce")
		n.ctx, n.h = boot(t, Options{Release: release, Name: "lab", Network: true, Files: map[string]string{"/usr/bin/pullnode": bin, "/root/deploy": n.r.Key("deploy")}})
		n.explain()
		https, cert, refused := n.serveTLS()
		bundle, err := n.h.Read("/etc/ssl/certs/ca-certificates.crt")
		if err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string][]byte{"/etc/ssl/certs/ca-certificates.crt": append(bundle, cert...), "/root/token": []byte("node:" + token + "\n")} {
			if err := n.h.Write(path, text); err != nil {
				t.Fatal(err)
			}
		}
		run(n.ctx, t, n.h, "chmod", "600", "/root/token", "/root/deploy")
		who := func(name string) []string {
			return []string{"/bin/sh", "-c", `logger -t "check-$0" "$(id -un) $(cat /root/token 2>/dev/null || echo cannot) $(test -w /etc && echo writes)"`, name}
		}
		s := map[string]any{"hostName": "lab", "url": "https://" + https + "/repo", "auth": map[string]any{"tokenFile": "/root/token"},
			"introduction": n.r.Introduction(intro, "alice"),
			"schedule":     map[string]any{"interval": "1s", "jitter": "1ms"},
			"health": map[string]any{"settle": "500ms", "window": "5s", "interval": "500ms", "successes": 2, "checks": map[string]any{
				"As-Named": map[string]any{"type": "command", "argv": who("named"), "user": "games"},
				"as-root":  map[string]any{"type": "command", "argv": who("root"), "user": "root"},
				"as-none":  map[string]any{"type": "command", "argv": who("none")},
				"as-ghost": map[string]any{"type": "command", "argv": who("ghost"), "user": "ghost", "required": false}}},
			"lifeline": map[string]any{"window": "10s"}}
		n.settings = s
		if err := n.h.Install(n.ctx, build(n.ctx, t, n.h, n.system(Config{Gen: "zero", Units: drop}))); err != nil {
			t.Fatal(err)
		}
		if err := n.h.Reboot(n.ctx); err != nil {
			t.Fatal(err)
		}
		n.deployed(n.push(Config{Units: drop}, "one"))
		if refused.Load() != 0 {
			t.Errorf("%d requests came without the token", refused.Load())
		}
		for name, want := range map[string]string{"named": "games cannot", "root": "root node:" + token, "none": "pullnode-check-as-none cannot"} {
			got := run(n.ctx, t, n.h, "journalctl", "--no-pager", "-o", "cat", "-t", "check-"+name)
			if lines := strings.Split(got, "\n"); strings.TrimSpace(lines[0]) != want {
				t.Errorf("check %s ran as %q, want %q", name, lines[0], want)
			}
		}
		if got := run(n.ctx, t, n.h, "journalctl", "--no-pager", "-o", "cat", "-t", "check-named", "-u", "pullnode-check-As-Named-*"); got == "" {
			t.Error("the check did not run in a unit of its own")
		}

		pub, err := os.ReadFile(n.r.Key("server") + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		n.settings = maps.Clone(s)
		n.settings["url"] = "ssh://root@" + n.serveSSH() + n.r.Dir
		n.settings["auth"] = map[string]any{"keyFile": "/root/deploy", "hostKey": strings.TrimSpace(string(pub))}
		n.deployed(n.push(Config{Units: drop}, "two, with settings that name the other remote"))
		n.deployed(n.push(Config{Units: drop}, "three, from there"))
	})
}

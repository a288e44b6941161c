package lab

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/gitrig"
)

// keyServer is `pullnode keyserver` on this machine, outside the node, with what it
// needs for the one host "lab".
type keyServer struct {
	t              *testing.T
	bin, dir, addr string
	unlock         string
	host           string // directory with the host's certificate and key
	cmd            *exec.Cmd
	said           bytes.Buffer
}

// newKeyServer makes the server's directory, as docs/keys.md has it, and lets the
// host in. The server is off.
func newKeyServer(t *testing.T, r *gitrig.Repo, ip, hostKey, identity string) *keyServer {
	t.Helper()
	bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &keyServer{t: t, bin: bin, dir: filepath.Join(t.TempDir(), "ks"), host: t.TempDir(), addr: l.Addr().String(), unlock: "ssh-host-key:" + r.Key("keyserver")}
	pub, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		input string
		args  []string
	}{{"", []string{"init", "--dir", s.dir, "--name", ip}},
		{identity + "\n", []string{"add", "lab", "--dir", s.dir, "--unlock", s.unlock, "--ssh-key", string(pub), "--to", s.host}}} {
		cmd := exec.Command(bin, append([]string{"keyserver"}, c.args...)...)
		cmd.Stdin = strings.NewReader(c.input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("keyserver %v: %v\n%s", c.args, err, out)
		}
	}
	t.Cleanup(func() {
		s.off()
		if t.Failed() {
			t.Logf("key server: %s", tail(s.said.Bytes(), 4000))
		}
	})
	return s
}

// source is the setting of a host that asks this server; its files go to the host.
func (s *keyServer) source(n *keyNode) map[string]any {
	s.t.Helper()
	const dir = "/var/lib/keys/"
	for from, to := range map[string]string{s.dir + "/ca.pem": "ca.pem", s.host + "/lab.pem": "lab.pem", s.host + "/lab.key": "lab.key"} {
		if err := n.h.Copy(from, dir+to); err != nil {
			s.t.Fatal(err)
		}
	}
	return map[string]any{"type": "server", "url": "https://" + s.addr, "ca": dir + "ca.pem", "certificate": dir + "lab.pem", "key": dir + "lab.key"}
}

func (s *keyServer) on() {
	s.t.Helper()
	s.cmd = exec.Command(s.bin, "keyserver", "--dir", s.dir, "--listen", s.addr, "--unlock", s.unlock)
	s.cmd.Stderr, s.cmd.WaitDelay = &s.said, time.Second
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *keyServer) off() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// rule changes what the server says about the host.
func (s *keyServer) rule(key string, value any) {
	s.t.Helper()
	path := filepath.Join(s.dir, "hosts", "lab.json")
	raw, err := os.ReadFile(path)
	rule := map[string]any{}
	if err == nil {
		err = json.Unmarshal(raw, &rule)
	}
	if rule[key] = value; value == nil {
		delete(rule, key)
	}
	if err == nil {
		raw, err = json.Marshal(rule)
	}
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

package gitrig

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// SSHD starts a real OpenSSH server on a loopback address, whose host key is Key
// "host" and which lets in Key "deploy". conf are more lines of sshd_config.
func (r *Repo) SSHD(conf string) (addr string) {
	tb := r.tb
	tb.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		if path = "/usr/sbin/sshd"; os.Getuid() != 0 {
			tb.Fatal("sshd is not in PATH (Debian package openssh-server)")
		}
		if _, err := os.Stat(path); err != nil {
			tb.Fatal("sshd is missing (Debian package openssh-server)")
		}
	}
	os.MkdirAll("/run/sshd", 0o755) // Debian's privilege separation directory
	host := r.Key("host")
	pub, err := os.ReadFile(r.Key("deploy") + ".pub")
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	keys := filepath.Join(dir, "authorized_keys")
	if err := os.WriteFile(keys, pub, 0o600); err != nil {
		tb.Fatal(err)
	}
	addr = ClosedPort(tb)
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(dir, "sshd_config")
	text := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nPasswordAuthentication no\n"+
		"KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPidFile none\n%s\n", port, host, keys, conf)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "-D", "-e", "-f", file)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(25 * time.Millisecond)
	}
	tb.Fatal("sshd does not listen")
	return ""
}

// ClosedPort gives a loopback address on which nobody listens.
func ClosedPort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

package keysrc_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pullnode/keysrc"
)

// TestMain is also the program that systemd would start with a socket.
func TestMain(m *testing.M) {
	if os.Getenv("KEYSRC_TEST_ACTIVATED") == "" {
		os.Exit(m.Run())
	}
	l, err := keysrc.ActivatedListener()
	if err != nil || l == nil {
		os.Exit(3)
	}
	absent := fetchFunc(func(context.Context) (*keysrc.Key, error) { return nil, keysrc.ErrAbsent })
	(&keysrc.Agent{Keys: absent}).Serve(context.Background(), l)
	os.Exit(4)
}

func TestActivatedListener(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test asks as root and needs root")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// systemd names the process that the socket is for; the shell becomes it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "KEYSRC_TEST_ACTIVATED=1", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	_, _, err = keysrc.Client{Path: path}.Preflight(t.Context(), nil)
	wantErr(t, err, "key agent: absent")

	t.Setenv("LISTEN_FDS", "1")
	for _, pid := range []string{"", "1", "x"} {
		t.Setenv("LISTEN_PID", pid)
		if l, err := keysrc.ActivatedListener(); l != nil || err != nil {
			t.Errorf("took a socket that is for process %q: %v, %v", pid, l, err)
		}
	}
}

package keysrc_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/keysrc"
)

// TestMain is also the programs that others start: the plugin, as pullnode is,
// and a keys process with a socket from systemd.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == keysrc.PluginProgram {
		os.Exit(keysrc.Plugin(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	source := os.Getenv("KEYSRC_TEST_ACTIVATED")
	if source == "" {
		os.Exit(m.Run())
	}
	l, err := keysrc.ActivatedListener()
	if err != nil || l == nil {
		os.Exit(3)
	}
	chain, err := keysrc.OpenAll([]json.RawMessage{json.RawMessage(source)})
	if err != nil {
		os.Exit(5)
	}
	a := &keysrc.Agent{Keys: chain}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		a.Store = &keysrc.FDStore{}
		if a.Held, err = a.Store.Restore(""); err != nil {
			os.Exit(6)
		}
	}
	a.Serve(context.Background(), l)
	os.Exit(4)
}

// asSystemd starts the keys process with a socket and perhaps a stored
// descriptor; kill ends it without any farewell.
func asSystemd(t *testing.T, source string, socket *os.File, stored *os.File, env ...string) (pid int, kill func()) {
	t.Helper()
	// systemd names the process that the socket is for; the shell becomes it.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(append(os.Environ(), "KEYSRC_TEST_ACTIVATED="+source, "LISTEN_FDS=1", "LISTEN_FDNAMES=socket"), env...)
	cmd.ExtraFiles = []*os.File{socket}
	if stored != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, stored)
		cmd.Env = append(cmd.Env, "LISTEN_FDS=2", "LISTEN_FDNAMES=socket:identity")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { cmd.Process.Kill(); cmd.Wait() }
	t.Cleanup(kill)
	return cmd.Process.Pid, kill
}

func listen(t *testing.T) (path string, socket *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	socket, err = l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return path, socket
}

// The test stands in for systemd's fd store: it gets the memory from the
// process and hands it to the next one.
func TestKeySurvivesARestart(t *testing.T) {
	if k := parse(t, newIdentity(t).String()); k.Memory() != keysrc.MemfdSecret {
		t.Skip("this machine has no memfd_secret or may hibernate, so nothing can be kept")
	}
	id := newIdentity(t)
	key := filepath.Join(t.TempDir(), "k")
	write(t, key, []byte(id.String()), 0o600)
	path, socket := listen(t)
	notify := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	systemd.SetReadDeadline(time.Now().Add(time.Minute))
	source := `{"type":"file","path":"` + key + `"}`
	_, kill := asSystemd(t, source, socket, nil, "NOTIFY_SOCKET="+notify)
	client := keysrc.Client{Path: path}
	if _, _, err := client.Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var stored *os.File
	for stored == nil {
		text, oob := make([]byte, 4096), make([]byte, 4096)
		n, oobn, _, _, err := systemd.ReadMsgUnix(text, oob)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text[:n]), "FDSTORE=1\n") {
			continue
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(msgs) != 1 {
			t.Fatalf("%d messages, %v", len(msgs), err)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("descriptors %v, %v", fds, err)
		}
		stored = os.NewFile(uintptr(fds[0]), "stored")
	}
	defer stored.Close()

	kill()
	os.Remove(key) // the source is gone when the process comes back
	_, kill = asSystemd(t, source, socket, stored, "NOTIFY_SOCKET="+notify)
	if text, err := client.Unwrap(t.Context(), stanzasFor(t, id.Recipient())); err != nil || len(text) != 16 {
		t.Errorf("after a crash: %v", err)
	}
	s, err := client.Holding(t.Context())
	if err != nil || !s.Held || !s.Restarts || s.Memory != keysrc.MemfdSecret || s.Source != "file:"+key || s.Recipients[0] != id.Recipient().String() {
		t.Errorf("after a crash: %+v, %v", s, err)
	}
	kill()
	asSystemd(t, source, socket, nil, "NOTIFY_SOCKET="+notify)
	if _, _, err := client.Preflight(t.Context(), nil); err == nil {
		t.Error("after a stop it still has the key")
	}
}

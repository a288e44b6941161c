package keysrc_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pullnode/keysrc"
)

func TestAgentRefusesOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test changes its user and needs root")
	}
	r := startAgent(t, func(context.Context) (*keysrc.Key, error) {
		t.Error("searched for the key")
		return nil, keysrc.ErrAbsent
	})
	// As if somebody had got the mode wrong: the kernel's word must be enough.
	for dir := r.client.Path; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error)
	go func() {
		// The thread is never unlocked, so it ends with this goroutine and the
		// other user with it. Other threads keep root.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			got <- errno
			return
		}
		_, _, err := r.client.Preflight(context.Background(), nil)
		got <- err
	}()
	err := <-got
	if !errors.Is(err, keysrc.ErrDenied) {
		t.Fatalf("user 65534 got %v", err)
	}
	wantErr(t, err, "user 65534 may not use this host's key")
}

func TestAgentRefusesBadRequests(t *testing.T) {
	key := newKey(t)
	r := startAgent(t, gives(key, nil))
	frame := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for name, c := range map[string]struct {
		send []byte
		want string
	}{
		"not json":           {frame("hello"), "bad-request"},
		"unknown field":      {frame(`{"verb":"unwrap","identity":true}`), `unknown setting \"identity\"`},
		"unknown verb":       {frame(`{"verb":"identity"}`), "no such request"},
		"no verb":            {frame(`{}`), "no such request"},
		"no stanzas":         {frame(`{"verb":"unwrap"}`), "no such request"},
		"files and stanzas":  {frame(`{"verb":"unwrap","files":[{}],"stanzas":[{"type":"X25519"}]}`), "no such request"},
		"bad stanza":         {frame(`{"verb":"unwrap","stanzas":[{"type":"X25519","args":["!"],"body":"AA=="}]}`), "class"},
		"file of no groups":  {frame(`{"verb":"preflight","files":[{"name":"x"}]}`), `"state":"malformed"`},
		"negative threshold": {frame(`{"verb":"preflight","files":[{"name":"x","groups":[{}],"threshold":-1}]}`), `"state":"malformed"`},
		"trailing":           {frame(`{"verb":"preflight"} {}`), "text after"},
		"too long":           {[]byte{0xff, 0xff, 0xff, 0xff, 'x'}, "message of 4294967295 bytes"},
		"empty":              {[]byte{0, 0, 0, 0}, "message of 0 bytes"},
		"cut":                {frame(`{"verb":"preflight"}`)[:9], "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", r.client.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(c.send); err != nil {
				t.Fatal(err)
			}
			conn.(*net.UnixConn).CloseWrite()
			out, err := io.ReadAll(conn)
			if errors.Is(err, unix.ECONNRESET) {
				err = nil // what the agent did not read, the kernel tells so
			}
			if err != nil || len(out) < 4 || !strings.Contains(string(out[4:]), c.want) {
				t.Errorf("answer %q, %v, want %q", out, err, c.want)
			}
			if !json.Valid(out[min(4, len(out)):]) {
				t.Errorf("answer %q is not one message", out)
			}
		})
	}
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Errorf("the agent is gone: %v", err)
	}
}

// More than one message can hold goes in several.
func TestPreflightOfManyFiles(t *testing.T) {
	key := newKey(t)
	r := startAgent(t, gives(key, nil))
	big := strings.Repeat("A", 60_000)
	var files []keysrc.Meta
	for i := range 200 {
		files = append(files, keysrc.Meta{Name: fmt.Sprint(i), Threshold: 1, Groups: []keysrc.Group{{Age: []keysrc.AgeEntry{{Recipient: "age1x", Enc: big}}}}})
	}
	results, _, err := r.client.Preflight(t.Context(), files)
	if err != nil || len(results) != len(files) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for i, got := range results {
		if got.Name != fmt.Sprint(i) || got.State != keysrc.Malformed {
			t.Fatalf("result %d is %v", i, got)
		}
	}
}

func TestListenReplacesOnlyASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second meets what a killed process left
		l, err := keysrc.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
	}
	os.Remove(path)
	write(t, path, []byte("precious"), 0o600)
	if _, err := keysrc.Listen(path); err == nil {
		t.Error("replaced a file")
	}
	if raw, _ := os.ReadFile(path); string(raw) != "precious" {
		t.Error("the file is gone")
	}
}

func TestClientWithoutAgent(t *testing.T) {
	_, _, err := keysrc.Client{Path: filepath.Join(t.TempDir(), "none")}.Preflight(t.Context(), nil)
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("error is %v", err)
	}
}

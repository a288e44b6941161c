package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/internal/gitrig"
	"pullnode/keysrc"
)

// The way that docs/keys.md describes, from nothing to a host with its key; at
// rest the server has only what its own SSH key opens.
func TestKeyServerFromNothing(t *testing.T) {
	keys := gitrig.New(t)
	dir, host := filepath.Join(t.TempDir(), "ks"), t.TempDir()
	if status, out, problem := call(t, "keyserver", "init", "--dir", dir, "--name", "127.0.0.1"); status != exitOK {
		t.Fatal(out, problem)
	}
	if status, _, problem := call(t, "keyserver", "init", "--dir", dir, "--name", "127.0.0.1"); status != exitFailed || !strings.Contains(problem, "there is a key server already") {
		t.Errorf("a second time: %s", problem)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hostKey, serverKey := keys.Key("web"), keys.Key("server")
	pub, err := os.ReadFile(hostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	unlock := "ssh-host-key:" + serverKey
	add := func() (int, string, string) {
		stdin = strings.NewReader(id.String() + "\n")
		t.Cleanup(func() { stdin = os.Stdin })
		return call(t, "keyserver", "add", "web", "--dir", dir, "--unlock", unlock, "--ssh-key", string(pub), "--to", host)
	}
	if status, out, problem := add(); status != exitOK || !strings.Contains(out, id.Recipient().String()) {
		t.Fatal(out, problem)
	}
	if status, _, _ := add(); status != exitFailed {
		t.Error("added a host twice")
	}
	if out, err := exec.Command("grep", "-rl", "AGE-SECRET-KEY", dir).CombinedOutput(); err == nil {
		t.Errorf("the server has the key in plain text: %s", out)
	}

	ctx, cancel := context.WithCancel(t.Context())
	said := &firstLine{got: make(chan string, 1)}
	done := make(chan error, 1)
	go func() {
		done <- keyserverCommand().call(ctx, "keyserver", []string{"--dir", dir, "--unlock", unlock, "--listen", "127.0.0.1:0"}, said)
	}()
	t.Cleanup(func() { cancel(); <-done })
	var addr string
	select {
	case line := <-said.got:
		addr = strings.TrimSpace(strings.TrimPrefix(line, "listens on "))
	case err := <-done:
		t.Fatal(err)
	}
	raw, _ := json.Marshal(map[string]any{"type": "server", "url": "https://" + addr, "ca": filepath.Join(dir, "ca.pem"),
		"certificate": filepath.Join(host, "web.pem"), "key": filepath.Join(host, "web.key"), "hostKey": hostKey})
	c, err := keysrc.OpenAll([]json.RawMessage{raw})
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.Fetch(t.Context())
	if err != nil || k.Recipient() != id.Recipient().String() {
		t.Fatalf("%v", err)
	}
	k.Wipe()
}

type firstLine struct{ got chan string }

func (f *firstLine) Write(p []byte) (int, error) {
	select {
	case f.got <- string(p):
	default:
	}
	return len(p), nil
}

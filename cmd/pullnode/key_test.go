package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
)

// keyRig is a settings file with sources of which one is there.
func keyRig(t *testing.T) (settings, path, recipient string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, recipient = filepath.Join(dir, "host.age"), id.Recipient().String()
	if err := os.WriteFile(path, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"hostName": "web", "url": "/srv/repo", "introduction": strings.Repeat("a", 40) + "@SHA256:" + strings.Repeat("A", 43),
		"keys": map[string]any{"recipient": recipient, "sources": []any{
			map[string]any{"type": "file", "path": path}, map[string]any{"type": "file", "path": filepath.Join(dir, "spare.age")}}}})
	if err != nil {
		t.Fatal(err)
	}
	settings = filepath.Join(dir, "settings.json")
	if err := os.WriteFile(settings, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return settings, path, recipient
}

func call(t *testing.T, args ...string) (status int, out, problem string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(args, &o, &e)
	return status, o.String(), e.String()
}

func TestKeyTestAsksEverySource(t *testing.T) {
	settings, path, recipient := keyRig(t)
	status, out, problem := call(t, "key", "test", "--config", settings)
	if status != exitFailed || !strings.Contains(problem, "1 of 2 sources") ||
		!strings.Contains(out, "ok      file:"+path+" gives "+recipient) || !strings.Contains(out, "spare.age: absent") {
		t.Errorf("status %d\n%s%s", status, out, problem)
	}
}

func TestKeyShow(t *testing.T) {
	_, path, recipient := keyRig(t)
	socket := filepath.Join(t.TempDir(), "s")
	status, _, problem := call(t, "key", "show", "--socket", socket)
	if status != exitFailed || !strings.Contains(problem, "pullnode-keys.socket") {
		t.Errorf("without a keys process: %d %s", status, problem)
	}
	chain, err := keysrc.OpenAll([]json.RawMessage{json.RawMessage(`{"type":"file","path":"` + path + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := keysrc.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, &keysrc.Agent{Keys: chain, OwnUser: true}, l)
	if _, out, _ := call(t, "key", "show", "--socket", socket); !strings.Contains(out, "no key is held") {
		t.Errorf("asked a source: %s", out)
	}
	if _, _, err := (keysrc.Client{Path: socket}).Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, out, _ := call(t, "key", "show", "--socket", socket)
	for _, want := range []string{recipient, "file:" + path, "memory   m"} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
}

func serve(t *testing.T, a *keysrc.Agent, l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
}

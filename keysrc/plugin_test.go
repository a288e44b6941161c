package keysrc_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// pluginRig puts the plugin in front of PATH and gives an identity file for it.
func pluginRig(t *testing.T, socket string) (identities string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, keysrc.PluginProgram)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	identities = filepath.Join(dir, "keys.txt")
	write(t, identities, []byte(keysrc.PluginIdentity(socket)+"\n"), 0o600)
	return identities
}

// decrypt runs the age CLI.
func decrypt(t *testing.T, identities string, sealed []byte) (text, problem string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("age", "-d", "-i", identities)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(sealed), &out, &errs
	if err := cmd.Run(); err != nil && errs.Len() == 0 {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

func TestPluginWithTheAgeCLI(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	me, you := id.Recipient().String(), other.Recipient().String()
	path := filepath.Join(t.TempDir(), "k")
	write(t, path, []byte(id.String()), 0o600)
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	chain := keysrc.Chain{Recipient: me, Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
	r := startAgent(t, chain.Fetch)
	r.agent.Audit = &keysrc.Audit{Path: audit}
	identities := pluginRig(t, r.client.Path)
	if raw, err := os.ReadFile(identities); err != nil || !strings.HasPrefix(string(raw), "AGE-PLUGIN-PULLNODE-1") || strings.Contains(string(raw), "SECRET") {
		t.Fatalf("identity file %q, %v", raw, err)
	}
	for range 3 {
		if text, problem := decrypt(t, identities, ageCLI(t, "for this host", you, me)); text != "for this host" {
			t.Fatalf("age says %q", problem)
		}
	}
	if _, problem := decrypt(t, identities, ageCLI(t, "x", you)); !strings.Contains(problem, "no identity matched") {
		t.Errorf("another's file: %q", problem)
	}

	// One line for each use, in the log and in the file.
	if n := strings.Count(r.log.String(), "msg=unwrap"); n != 4 {
		t.Errorf("%d lines in the log", n)
	}
	var unwraps, acquired int
	for _, e := range events(t, audit) {
		switch e.Event {
		case "acquire":
			acquired++
		case "unwrap":
			unwraps++
			if e.Program != keysrc.PluginProgram[:15] || e.PID == 0 || e.Source != "file:"+path || e.Recipient != me || e.Time.IsZero() {
				t.Errorf("audit line %+v", e)
			}
		}
	}
	if unwraps != 4 || acquired != 1 {
		t.Errorf("the audit has %d unwraps and %d acquired", unwraps, acquired)
	}
	if raw, _ := os.ReadFile(audit); strings.Contains(string(raw), "SECRET-KEY") {
		t.Error("the audit has the key")
	}

	r.agent.Release()
	os.Remove(path)
	if _, problem := decrypt(t, identities, ageCLI(t, "x", me)); !strings.Contains(problem, "no key: file:"+path+": absent") {
		t.Errorf("without the medium: %q", problem)
	}
	r.stop()
	if _, problem := decrypt(t, identities, ageCLI(t, "x", me)); !strings.Contains(problem, "nobody listens on "+r.client.Path) {
		t.Errorf("without the keys process: %q", problem)
	}
}

func events(t *testing.T, path string) (all []keysrc.Event) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		var e keysrc.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// sops finds the plugin by itself.
func TestPluginWithTheSopsCLI(t *testing.T) {
	cli := keysrctest.SopsCLI(t)
	id, other := newIdentity(t), newIdentity(t)
	r := startAgent(t, gives(parse(t, id.String()), nil))
	t.Setenv("SOPS_AGE_KEY_FILE", pluginRig(t, r.client.Path))
	path := filepath.Join(t.TempDir(), "web.yaml")
	write(t, path, []byte("password: hunter2-hunter2\n"), 0o600)
	sops := func(args ...string) string {
		cmd := exec.Command(cli, args...)
		cmd.Dir = filepath.Dir(path) // away from the repository's .sops.yaml
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("sops %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	sops("encrypt", "-i", "--age", other.Recipient().String()+","+id.Recipient().String(), path)
	if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte("hunter2")) {
		t.Fatal("sops did not encrypt")
	}
	if got := sops("decrypt", "--extract", `["password"]`, path); got != "hunter2-hunter2" {
		t.Errorf("sops gives %q", got)
	}
}

func parse(t *testing.T, text string) *keysrc.Key {
	t.Helper()
	k, err := keysrc.ParseKey([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

func feed(t *testing.T, text string) {
	t.Helper()
	was := stdin
	stdin = strings.NewReader(text)
	t.Cleanup(func() { stdin = was })
}

// What the command writes is what the source reads, and gives the same key.
func TestKeySeal(t *testing.T) {
	tpm := keysrctest.StartTPM(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags []string
		pcrs  []int
	}{
		"default": {nil, []int{7}},
		"pcrs":    {[]string{"--pcrs", "7, 0"}, []int{0, 7}},
		"chip":    {[]string{"--pcrs", ""}, []int{}},
		"new":     {[]string{"--new"}, []int{7}},
	} {
		t.Run(name, func(t *testing.T) {
			feed(t, "# a comment\n"+id.String()+"\n")
			path := filepath.Join(t.TempDir(), "host.tpm")
			args := append([]string{"key", "seal", "--device", tpm.Socket, path}, c.flags...)
			status, out, problem := call(t, args...)
			if status != exitOK {
				t.Fatalf("status %d: %s", status, problem)
			}
			if name != "new" && out != id.Recipient().String()+"\n" {
				t.Errorf("printed %q", out)
			}
			fi, err := os.Stat(path)
			if err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", fi.Mode(), err)
			}
			raw, _ := json.Marshal(map[string]any{"type": "tpm", "path": path, "device": tpm.Socket, "pcrs": c.pcrs})
			chain, err := keysrc.Settings{Recipient: strings.TrimSpace(out), Sources: []json.RawMessage{raw}}.Open()
			if err != nil {
				t.Fatal(err)
			}
			k, err := chain.Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k.Wipe()
			feed(t, id.String())
			if status, _, problem := call(t, args...); status != exitFailed || !strings.Contains(problem, "is there already") {
				t.Errorf("a second time: status %d: %s", status, problem)
			}
		})
	}
}

func TestKeySealRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		input, want string
		flags       []string
	}{
		"no key":   {"hello\n", "standard input: line 1 is not an age identity", nil},
		"nothing":  {"", "standard input: holds no age identity", nil},
		"pcr":      {"", "\"x\" is no number", []string{"--pcrs", "x"}},
		"high pcr": {"", "there is no PCR 24", []string{"--new", "--pcrs", "24"}},
		"no TPM":   {"", "absent: there is no TPM at " + dir, []string{"--new", "--device", dir + "/none"}},
	} {
		t.Run(name, func(t *testing.T) {
			feed(t, c.input)
			path := filepath.Join(t.TempDir(), "blob")
			status, _, problem := call(t, append([]string{"key", "seal", path}, c.flags...)...)
			if status == exitOK || !strings.Contains(problem, c.want) {
				t.Errorf("status %d: %s", status, problem)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a file was written")
			}
		})
	}
}

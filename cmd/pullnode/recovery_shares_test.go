package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pullnode/keysrc/keysrctest"
)

// recovered makes a recovery key and gives its shares.
func recovered(t *testing.T) (recipient string, shares []string) {
	t.Helper()
	status, out, problem := call(t, "recovery", "init", "--shares", "4", "--threshold", "2")
	if status != exitOK || strings.Contains(out, "SECRET-KEY") {
		t.Fatal(out, problem)
	}
	recipient = regexp.MustCompile(`age1[a-z0-9]+`).FindString(out)
	shares = regexp.MustCompile(`(?m)^PULLNODE-SHARE-1 .*$`).FindAllString(out, -1)
	if len(shares) != 4 {
		t.Fatalf("%d shares:\n%s", len(shares), out)
	}
	return recipient, shares
}

func typeIn(t *testing.T, lines ...string) {
	stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	t.Cleanup(func() { stdin = os.Stdin })
}

func TestRecoveryTest(t *testing.T) {
	recipient, shares := recovered(t)
	dir := t.TempDir()
	for name, to := range map[string]string{"ours.json": recipient, "theirs.json": newIdentity(t).Recipient().String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(keysrctest.SOPS(t, to)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	typeIn(t, shares[3], shares[1])
	if status, out, problem := call(t, "recovery", "test", filepath.Join(dir, "ours.json")); status != exitOK || !strings.Contains(out, "open all 1 files") {
		t.Error(out, problem)
	}
	typeIn(t, shares[3])
	if status, _, problem := call(t, "recovery", "test", filepath.Join(dir, "ours.json")); status != exitFailed || !strings.Contains(problem, "needs 2") {
		t.Error(problem)
	}
	typeIn(t, shares[0], shares[1])
	if status, _, problem := call(t, "recovery", "test", filepath.Join(dir, "theirs.json")); status != exitFailed || !strings.Contains(problem, "theirs.json: is not encrypted") {
		t.Error(problem)
	}
}

// The real age CLI decrypts with the key and never has it.
func TestRecoveryUse(t *testing.T) {
	recipient, shares := recovered(t)
	path := filepath.Join(t.TempDir(), "x.age")
	if err := os.WriteFile(path, sealFor(t, recipient, []byte("what was lost")), 0o600); err != nil {
		t.Fatal(err)
	}
	typeIn(t, shares[2], shares[0])
	status, out, problem := call(t, "recovery", "use", "sh", "-c", `cat "$SOPS_AGE_KEY_FILE"; age -d -i "$SOPS_AGE_KEY_FILE" "$0"; env | grep SECRET-KEY || true`, path)
	if status != exitOK || !strings.Contains(out, "what was lost") || !strings.Contains(out, "AGE-PLUGIN-PULLNODE-1") {
		t.Error(out, problem)
	}
	if strings.Contains(out, "SECRET-KEY") {
		t.Error("the command has the key")
	}
	typeIn(t, shares[2], shares[0])
	if status, _, problem := call(t, "recovery", "use", "false"); status != exitFailed || !strings.Contains(problem, "false: exit status 1") {
		t.Errorf("%d %s", status, problem)
	}
}

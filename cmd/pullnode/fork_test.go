package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/keysrc"
)

// fork is this repository as somebody has it who made it his own.
func fork(t *testing.T) *gitrig.Repo {
	t.Helper()
	top := filepath.Join("..", "..")
	out, err := exec.Command("git", "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	r := gitrig.New(t)
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		raw, err := os.ReadFile(filepath.Join(top, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		r.Write(name, string(raw))
	}
	r.Signers("alice")
	r.Commit("alice", "fork")
	return r
}

// A fork deploys as it is: what the example needs to be tried out is no leak to its
// node, nor to the checks before a push, and the program's own text speaks of keys
// without holding one.
func TestForkHoldsNoSecret(t *testing.T) {
	r := fork(t)
	if out := typed("secret", "check", "--repo", r.Dir); !strings.Contains(out, "every secret is encrypted") {
		t.Error(out)
	}
	for line := range strings.Lines(typed("lint", "--repo", r.Dir)) {
		if strings.Contains(line, "secrets") || strings.Contains(line, "history") {
			t.Error(line)
		}
	}

	key := filepath.Join(t.TempDir(), "key") // with the mode that a host key has
	write(t, key, string(read(t, filepath.Join(r.Dir, "hosts", "example", "test-only-host-key"))))
	source, err := json.Marshal(map[string]string{"type": "ssh-host-key", "path": key})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := keysrc.OpenAll([]json.RawMessage{source})
	if err != nil {
		t.Fatal(err)
	}
	tree := os.DirFS(r.Dir)
	files, bad, err := keysrc.Files(tree, "example", nil)
	if err != nil || len(files) == 0 || len(bad) != 0 {
		t.Fatal(files, bad, err)
	}
	values, err := keysrc.ReadValues(t.Context(), chain, tree, files)
	if err != nil || len(values) == 0 {
		t.Fatal(values, err)
	}
	defer values.Wipe()
	if err := os.RemoveAll(filepath.Join(r.Dir, ".git")); err != nil {
		t.Fatal(err)
	}
	scan := func() []keysrc.Leak {
		t.Helper()
		leaks, err := scanFor(t.Context(), commitLook(values), []string{r.Dir})
		if err != nil {
			t.Fatal(err)
		}
		return leaks
	}
	if leaks := scan(); len(leaks) != 0 {
		t.Errorf("the node of the example refuses every commit: %v", leaks)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(r.Dir, "hosts", "example", "test-only-second")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if leaks := scan(); len(leaks) != 1 || !strings.HasSuffix(leaks[0].Path, "test-only-second") {
		t.Errorf("a key of somebody's own: %v", leaks)
	}
}

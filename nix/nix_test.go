package nix

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository.
const root = ".."

// instantiate runs nix-instantiate with a store of its own, so that it needs
// neither a daemon nor a user's rights. Nothing is written to the store.
func instantiate(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	out, said, err := instantiateSays(t, args...)
	if err != nil {
		t.Logf("nix-instantiate %s\n%s", strings.Join(args, " "), said)
	}
	return out, err
}

// instantiateSays gives what it says too.
func instantiateSays(t *testing.T, args ...string) ([]byte, string, error) {
	t.Helper()
	bin, err := exec.LookPath("nix-instantiate")
	if err != nil {
		t.Fatal("nix-instantiate is missing (Debian package nix-bin)")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nix.conf"), []byte("build-users-group =\nsandbox = false\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "NIX_REMOTE=", "NIX_STATE_DIR="+dir+"/var", "NIX_LOG_DIR="+dir+"/log",
		"NIX_CONF_DIR="+dir, "HOME="+dir, "XDG_CACHE_HOME="+dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	return out, errs.String(), err
}

// evaluate gives the value of a Nix expression.
func evaluate(t *testing.T, expr string, into any) {
	t.Helper()
	out, err := instantiate(t, "--eval", "--strict", "--json", "--readonly-mode", "--expr", expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatal(err)
	}
}

// file gives a path as a Nix expression.
func file(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// nixFiles are all of the repository.
func nixFiles(t *testing.T) (files []string) {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "*.nix").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			files = append(files, filepath.Join(root, name))
		}
	}
	if !slices.Contains(files, "../nix/module.nix") {
		t.Fatalf("nix/module.nix is not among %q", files)
	}
	return files
}

func TestEveryFileParses(t *testing.T) {
	if _, err := instantiate(t, append([]string{"--parse"}, nixFiles(t)...)...); err != nil {
		t.Error(err)
	}
}

// Small files, and nothing that only this repository's writers could know.
func TestFilesAreSmall(t *testing.T) {
	for _, f := range nixFiles(t) {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(raw, []byte("\n")); n > 250 {
			t.Errorf("%s has %d lines, at most 250", f, n)
		}
	}
}

// The binary is made of the Go packages and nothing else, so that a commit that
// changes none of them changes no machine.
func TestPackageSource(t *testing.T) {
	raw, err := os.ReadFile("package.nix")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, m := range regexp.MustCompile(`(?m)^      (\.\S+)$`).FindAllStringSubmatch(string(raw), -1) {
		sources = append(sources, filepath.Clean(filepath.Join("nix", m[1])))
	}
	for _, s := range sources {
		if s == "." || s == "nix" || s == "docs" || s == "hosts" || s == "modules" {
			t.Errorf("package.nix takes in %s", s)
		}
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "pullnode/cmd/pullnode").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		dir := strings.TrimPrefix(pkg, "pullnode/")
		if !slices.ContainsFunc(sources, func(s string) bool { return dir == s || strings.HasPrefix(dir, s+"/") }) {
			t.Errorf("package %s is not in the source of package.nix", pkg)
		}
	}
}

// vendorHash is what Nix will find: the hash of `go mod vendor`'s directory.
func TestVendorHash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vendor")
	if out, err := exec.Command("go", "mod", "vendor", "-o", dir).CombinedOutput(); err != nil {
		t.Fatalf("go mod vendor: %v\n%s", err, out)
	}
	out, err := exec.Command("nix", "--extra-experimental-features", "nix-command", "hash", "path", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := `vendorHash = "` + strings.TrimSpace(string(out)) + `";`
	raw, err := os.ReadFile("package.nix")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), "\n  "+want+"\n") {
		t.Errorf("nix/package.nix: go.mod or its use changed; write the line\n  %s", want)
	}
}

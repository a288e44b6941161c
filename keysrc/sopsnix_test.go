package keysrc_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/keysrc/keysrctest"
)

// sops-nix itself, built from the copy in the directory SOPS_NIX, installs a secret
// with the key that the keys process holds: `make eval` runs this.
func TestSopsInstallSecrets(t *testing.T) {
	src := os.Getenv("SOPS_NIX")
	if src == "" {
		t.Skip("needs SOPS_NIX, a directory with sops-nix")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "sops-install-secrets")
	build := exec.Command("go", "build", "-o", program, "./pkgs/sops-install-secrets")
	build.Dir = src
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	id := newIdentity(t)
	r := startAgent(t, gives(parse(t, id.String()), nil))
	identities := pluginRig(t, r.client.Path)

	file := filepath.Join(dir, "web.yaml")
	write(t, file, []byte("db:\n  password: hunter2-hunter2\n"), 0o644)
	encrypt := exec.Command(keysrctest.SopsCLI(t), "encrypt", "-i", "--age", id.Recipient().String(), file)
	encrypt.Dir = dir
	if out, err := encrypt.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path, mount := filepath.Join(dir, "at", "password"), filepath.Join(dir, "secrets.d")
	manifest, err := json.Marshal(map[string]any{
		"secrets": []any{map[string]any{"name": "password", "key": "db/password", "path": path, "uid": 0, "gid": 0,
			"sopsFile": file, "format": "yaml", "mode": "0400"}},
		"secretsMountPoint": mount, "symlinkPath": filepath.Join(dir, "secrets"), "keepGenerations": 1,
		"ageKeyFile": identities, "logging": map[string]any{"keyImport": true, "secretChanges": true}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "manifest.json"), manifest, 0o644)
	// It gives the secrets to a group that NixOS has.
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "group"), append(groups, "keys:x:96:\n"...), 0o644)
	// What it mounts goes with the shell's own mounts; what it wrote is shown before.
	out, err := exec.Command("unshare", "--mount", "sh", "-ec", `mount --bind "$1/group" /etc/group
		"$1/sops-install-secrets" "$1/manifest.json" >&2
		cat "$1/at/password"; echo; stat -f -c %T "$1/secrets.d"; stat -c %a "$1/secrets/password"
		grep -r -l AGE-SECRET-KEY "$1/secrets.d" /run/secrets.d 2>/dev/null || true`, "sh", dir).Output()
	if err != nil {
		var errs []byte
		if e, ok := err.(*exec.ExitError); ok {
			errs = e.Stderr
		}
		t.Fatalf("%v\n%s", err, errs)
	}
	if want := "hunter2-hunter2\nramfs\n400\n"; string(out) != want {
		t.Errorf("installed %q, want %q", out, want)
	}
	if bytes.Contains(out, []byte("SECRET")) || strings.Contains(string(manifest), "SECRET") {
		t.Error("the key is in the files of sops-nix")
	}
}

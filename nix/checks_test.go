package nix

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The repository of the VM tests has the introduction that their machine trusts, and
// what is committed to it builds, where evaluation is pure, a copy of a system that
// speaks of its new place only.
func TestRepositoryOfTheChecks(t *testing.T) {
	dir := t.TempDir()
	key, infra := filepath.Join(dir, "key"), filepath.Join(dir, "infra")
	raw, err := os.ReadFile(filepath.Join(root, "hosts", "example", "test-only-host-key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) string {
		t.Helper()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "NIX_STORE_DIR="+dir+"/store", "NIX_STATE_DIR="+dir+"/var", "NIX_LOG_DIR="+dir+"/log", "NIX_CONF_DIR="+dir, "NIX_REMOTE=", "HOME="+dir,
			"NIX_CONFIG=sandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", argv, err, err.(*exec.ExitError).Stderr)
		}
		return strings.TrimSpace(string(out))
	}
	first := run("sh", "checks/repository.sh", key, infra)
	want := first + "@" + strings.Fields(run("ssh-keygen", "-lf", key))[1]
	node, err := os.ReadFile("checks/node.nix")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(node), `introduction = "`+want+`";`) {
		t.Errorf("nix/checks/node.nix: want introduction = %q", want)
	}

	// A system as NixOS builds them, and the programs of this machine as paths of the store.
	system := run("nix-build", "--no-out-link", "--expr", `derivation { name = "nixos-system-machine-1"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-euc" "PATH=/usr/bin:/bin; mkdir -p $out/bin; echo $out/sw > $out/activate; chmod 755 $out/activate; ln -s $out/activate $out/bin/link; ln -s /etc $out/etc; exit 0" ]; }`)
	tools := map[string]string{"system": run("nix-instantiate", "--eval", "--json", "--expr", "builtins.currentSystem")}
	tools["system"] = strings.Trim(tools["system"], `"`)
	for name, programs := range map[string][]string{"bash": {"bash"}, "coreutils": {"cp", "chmod"}, "findutils": {"find"}, "sed": {"sed"}} {
		bin := filepath.Join(dir, "tools", name, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range programs {
			path, err := exec.LookPath(p)
			if err == nil {
				err = os.Symlink(path, filepath.Join(bin, p))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		tools[name] = run("nix-store", "--add", filepath.Join(dir, "tools", name))
	}
	files := filepath.Join(dir, "next")
	if err := os.CopyFS(files, os.DirFS("checks/next")); err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(tools); err == nil {
		err = os.WriteFile(filepath.Join(files, "tools.json"), raw, 0o644)
	}
	if err == nil {
		err = os.Symlink(system, filepath.Join(dir, "link"))
	}
	if err != nil {
		t.Fatal(err)
	}
	run("sh", "checks/commit.sh", files, infra, filepath.Join(dir, "link"), "deploy")
	if signed := run("git", "-C", infra, "cat-file", "commit", "HEAD"); !strings.Contains(signed, "BEGIN SSH SIGNATURE") {
		t.Errorf("is not signed: %s", signed)
	}
	var built []struct{ Outputs map[string]string }
	said := run("nix", "build", "--no-link", "--json", "git+file://"+infra+"#nixosConfigurations.machine.config.system.build.toplevel")
	if err := json.Unmarshal([]byte(said), &built); err != nil || len(built) != 1 {
		t.Fatal(said, err)
	}
	out := built[0].Outputs["out"]
	if out == system || len(out) != len(system) {
		t.Errorf("%s was built of %s", out, system)
	}
	if raw, err := os.ReadFile(filepath.Join(out, "activate")); err != nil || string(raw) != out+"/sw\n" {
		t.Errorf("activate is %q, %v", raw, err)
	}
	if st, err := os.Stat(filepath.Join(out, "activate")); err != nil || st.Mode()&0o111 == 0 {
		t.Errorf("activate: %v, %v", st, err)
	}
	if to, err := os.Readlink(filepath.Join(out, "etc")); to != "/etc" {
		t.Errorf("etc leads to %q, %v", to, err)
	}
}

// The test driver runs each line with pipefail, and `status` ends with 3 where the node
// is not well: a pipe would fail although grep has found what it should.
func TestScriptsOfTheChecks(t *testing.T) {
	names := []string{"starts", "refuses-unsigned", "deploys-signed", "puts-back"}
	for _, name := range names {
		var script string
		evaluate(t, "(import "+file(t, "checks/"+name+".nix")+" { }).testScript", &script)
		if !strings.Contains(script, "pullnode status") {
			t.Errorf("%s does not look at the status", name)
		}
		for line := range strings.Lines(script) {
			if strings.Contains(line, "pullnode status") && !strings.Contains(line, "(pullnode status") {
				t.Errorf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
	for _, name := range names {
		raw, err := os.ReadFile("checks/default.nix")
		if err != nil || !strings.Contains(string(raw), `"`+name+`"`) {
			t.Errorf("%s is not among the checks: %v", name, err)
		}
	}
}

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/internal/sopsconf"
	"pullnode/keysrc/keysrctest"
)

// A new folder is what lib.mkFleet reads, and the recipient is that of the key.
func TestNewHost(t *testing.T) {
	r := gitrig.New(t)
	r.Write("modules/base.nix", "{ }\n")
	r.Write("modules/secrets.nix", "{ }\n")
	key := filepath.Join(t.TempDir(), "web01-key")
	out := typed("new-host", "web01", "--repo", r.Dir, "--environment", "staging", "--disk", "/dev/nvme0n1", "--host-key", key)
	for _, say := range []string{"made hosts/web01/host.nix, hosts/web01/default.nix, hosts/web01/disko.nix", "recipient for .sops.yaml: age1", "pullnode secret new hosts/web01/secrets.yaml", "git commit -S", "pullnode install web01 --host-key FILE"} {
		if !strings.Contains(out, say) {
			t.Errorf("want %q in\n%s", say, out)
		}
	}
	dir := filepath.Join(r.Dir, "hosts", "web01")
	eval := func(expr string) string {
		t.Helper()
		cmd := exec.Command("nix-instantiate", "--eval", "--strict", "--json", "--readonly-mode", "--expr", expr)
		for _, kv := range ownStore(t.TempDir()) {
			cmd.Env = append(cmd.Environ(), kv)
		}
		raw, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		return strings.TrimSpace(string(raw))
	}
	if got := eval("import " + dir + "/host.nix"); got != `{"environment":"staging","system":"x86_64-linux"}` {
		t.Error(got)
	}
	if got := eval("(import " + dir + "/disko.nix).disko.devices.disk.main.device"); got != `"/dev/nvme0n1"` {
		t.Error(got)
	}
	if got := eval("builtins.length (import " + dir + "/default.nix).imports"); got != "2" {
		t.Errorf("imports: %s", got)
	}
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}

	if out := typed("new-host", "web01", "--repo", r.Dir); !strings.Contains(out, "hosts/web01 is there already") {
		t.Error(out)
	}
	var made hostFolder
	raw, _, _ := strings.Cut(typed("new-host", "board", "--repo", r.Dir, "--system", "aarch64-linux", "--json"), "exit status")
	if i := strings.Index(raw, "{"); i < 0 || json.Unmarshal([]byte(strings.TrimRight(raw[i:], "\n$ ")), &made) != nil || made.System != "aarch64-linux" || len(made.Files) != 3 {
		t.Errorf("%s: %+v", raw, made)
	}
}

// In a repository of the template a new machine has what its own machine has: where
// to pull from, and who may log in.
func TestNewHostOfTheTemplate(t *testing.T) {
	r := gitrig.New(t)
	if err := os.CopyFS(r.Dir, os.DirFS(filepath.Join("..", "..", "templates", "default"))); err != nil {
		t.Fatal(err)
	}
	typed("new-host", "db01", "--repo", r.Dir)
	lib := `{ concatLists = builtins.concatLists; attrValues = builtins.attrValues; }`
	cmd := exec.Command("nix-instantiate", "--eval", "--strict", "--json", "--readonly-mode", "--expr",
		`let c = import `+filepath.Join(r.Dir, "hosts/db01/default.nix")+` { lib = `+lib+`; }; in c.services.pullnode.settings // { keys = c.users.users.root.openssh.authorizedKeys.keys; from = c.services.pullnode.settings.keys.sources; }`)
	cmd.Env = append(os.Environ(), ownStore(t.TempDir())...)
	raw, err := cmd.Output()
	var got struct {
		URL    string
		Keys   []string
		From   []any
		Health struct{ Checks map[string]any }
	}
	if err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil || got.URL != "https://git.example.org/infra.git" || got.Keys == nil || len(got.From) != 1 || len(got.Health.Checks) != 1 {
		t.Errorf("%s, %v", raw, err)
	}
}

// With its host key a machine is in .sops.yaml, and its first secret opens with it.
func TestNewHostJoins(t *testing.T) {
	r := secretsRepo(t)
	before := string(read(t, filepath.Join(r.Dir, ".sops.yaml")))
	key := filepath.Join(t.TempDir(), "db01-key")
	for _, args := range [][]string{{"--with", "recovery"}, {"--host-key", key, "--with", "nobody"}, {"--host-key", key, "--also", "secrets/none.yaml"}} {
		out := typed(append([]string{"new-host", "db01", "--repo", r.Dir}, args...)...)
		if _, err := os.Stat(filepath.Join(r.Dir, "hosts", "db01")); err == nil || strings.Contains(out, "exit status 0") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if _, err := os.Stat(key); err == nil || string(read(t, filepath.Join(r.Dir, ".sops.yaml"))) != before {
		t.Error("what is refused changes nothing")
	}
	out := typed("new-host", "db01", "--repo", r.Dir, "--host-key", key, "--with", "recovery,operators_staging")
	recipient := keysrctest.SSHRecipient(t, key)
	conf, err := sopsconf.Parse(read(t, filepath.Join(r.Dir, ".sops.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	i, ok := conf.Match("hosts/db01/secrets.yaml")
	if !ok || len(conf.Rules[i].Recipients()) != 3 || !slices.Contains(conf.Rules[i].Recipients(), recipient) {
		t.Errorf("no rule for %s:\n%s", recipient, out)
	}
	for _, say := range []string{"rule     ^hosts/db01/secrets\\.yaml$: recovery, operators_staging, db01", "  pullnode secret new hosts/db01/secrets.yaml\n", "  git add -A && git commit"} {
		if !strings.Contains(out, say) {
			t.Errorf("want %q in\n%s", say, out)
		}
	}
	if out := typed("new-host", "web-staging", "--repo", r.Dir, "--host-key", key+"2", "--with", "recovery"); !strings.Contains(out, "web-staging has a key already") {
		t.Error(out)
	}
}

func TestNewHostRefuses(t *testing.T) {
	r := gitrig.New(t)
	for say, args := range map[string][]string{
		"is no host name":           {"Web_01"},
		"is no system":              {"web01", "--system", "riscv64-linux"},
		"is no disk":                {"web01", "--disk", "sda\"; x = \""},
		"is no name of an":          {"web01", "--environment", "a\"b"},
		"is in the repository":      {"web01", "--host-key", filepath.Join(r.Dir, "key")},
		"is not a Git repository":   {"web01", "--repo", t.TempDir()},
		"usage: pullnode new-host ": {},
	} {
		if len(args) < 3 || args[1] != "--repo" {
			args = append(args, "--repo", r.Dir)
		}
		if out := typed(append([]string{"new-host"}, args...)...); !strings.Contains(out, say) || strings.Contains(out, "exit status 0") {
			t.Errorf("%v: %s", args, out)
		}
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "hosts")); err == nil {
		t.Error("something was made")
	}
}

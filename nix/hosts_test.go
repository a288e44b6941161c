package nix

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pullnode/internal/config"
	"pullnode/keysrc"
)

// A folder with host.nix is a machine, and says no more than lib.mkFleet reads.
func TestHostFolders(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(root, "hosts", "*", "host.nix"))
	if err != nil || len(dirs) < 4 {
		t.Fatalf("hosts: %v, %v", dirs, err)
	}
	for _, f := range dirs {
		var host map[string]string
		evaluate(t, "import "+file(t, f), &host)
		for k := range host {
			if !slices.Contains([]string{"system", "environment", "address", "sshUser"}, k) {
				t.Errorf("%s: unknown %s", f, k)
			}
		}
		if s := host["system"]; s != "x86_64-linux" && s != "aarch64-linux" {
			t.Errorf("%s: system %q", f, s)
		}
		if e := host["environment"]; e != "" {
			if _, err := os.Stat(filepath.Join(root, "modules", "environments", e+".nix")); err != nil {
				t.Errorf("%s: environment %q: %v", f, e, err)
			}
		}
		for _, name := range []string{"default.nix", "disko.nix"} {
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), name)); err != nil {
				t.Error(err)
			}
		}
	}
}

// What is wrong with a folder is said by its name, not by a line of the library.
func TestHostFolderErrors(t *testing.T) {
	lib := "import " + file(t, "lib/host.nix") + " { lib = import " + file(t, "tests/minilib.nix") + "; }"
	for _, c := range []struct{ host, want string }{
		{`{ }`, `hosts/web01/host.nix: system is missing`},
		{`{ system = "x86_64-linux"; enviroment = "staging"; }`, `hosts/web01/host.nix: unknown enviroment; it has system, environment, address, sshUser`},
		{`{ lib, ... }: { }`, `hosts/web01/host.nix: it is no attribute set`},
		{`{ system = "x86_64-linux"; environment = "stagng"; }`, `hosts/web01/host.nix: unknown environment stagng; there are production, staging`},
		{`{ system = "x86_64-linux"; }`, `hosts/web01/default.nix is missing`},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "host.nix"), c.host)
		if !strings.Contains(c.want, "default.nix") {
			write(t, filepath.Join(dir, "default.nix"), "{ }")
		}
		expr := `let l = ` + lib + `; dir = ` + dir + `; host = l.readHost dir "web01"; in
			builtins.deepSeq (l.hostModule { inherit dir host; environments = { staging = { }; production = { }; }; }).imports host`
		if _, said, err := instantiateSays(t, "--eval", "--strict", "--json", "--readonly-mode", "--expr", expr); err == nil || !strings.Contains(said, c.want) {
			t.Errorf("%s: want %q, got %v:\n%s", c.host, c.want, err, said)
		}
	}
}

// What each machine sets is what the program reads. A machine of an environment
// follows its branch.
func TestSettingsOfTheHosts(t *testing.T) {
	var hosts map[string]json.RawMessage
	evaluate(t, "import "+file(t, "tests/hosts.nix"), &hosts)
	branches := map[string]string{"example": "main", "web-staging": "staging", "web-production": "production", "minimal": "main"}
	for name, raw := range hosts {
		c, err := config.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.HostName != name || c.Branch != branches[name] {
			t.Errorf("%s: host name %s, branch %s", name, c.HostName, c.Branch)
		}
		if _, err := keysrc.OpenAll(c.Keys.Sources); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(hosts) != len(branches) {
		t.Errorf("machines %v, want %v", slices.Sorted(maps.Keys(hosts)), branches)
	}
}

// The secrets of the example open with the key that lies beside them, as its
// virtual machine opens them; those of other hosts do not.
func TestSecretsOfTheExample(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "hosts", "example", "test-only-host-key"))
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key") // of this user, mode 0600
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(`{"type":"ssh-host-key","path":%q}`, key)
	chain, err := keysrc.OpenAll([]json.RawMessage{json.RawMessage(source)})
	if err != nil {
		t.Fatal(err)
	}
	prove := func(host string) error {
		metas, bad, err := keysrc.Files(os.DirFS(root), host, nil)
		if err != nil {
			t.Fatal(err)
		}
		return keysrc.Prove(t.Context(), chain, metas, bad)
	}
	if err := prove("example"); err != nil {
		t.Error(err)
	}
	for _, host := range []string{"web-staging", "web-production"} {
		if err := prove(host); err == nil || !strings.Contains(err.Error(), "is not encrypted for this host") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

var (
	anchorRE = regexp.MustCompile(`(?m)^  - &(\w+) (age1[a-z0-9]+)$`)
	ruleRE   = regexp.MustCompile(`(?m)^  - path_regex: (\S+)\n    key_groups:\n      - age: \[([^\]]+)\]$`)
)

// Each secret is encrypted for those whom .sops.yaml names, and no machine opens
// what is another environment's.
func TestRecipients(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, ".sops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, m := range anchorRE.FindAllStringSubmatch(string(raw), -1) {
		keys[m[1]] = m[2]
	}
	rules := ruleRE.FindAllStringSubmatch(string(raw), -1)
	if len(keys) < 6 || len(rules) < 5 {
		t.Fatalf("%d keys, %d rules in .sops.yaml", len(keys), len(rules))
	}
	seen := 0
	for _, dir := range []string{"hosts", "secrets"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
				return err
			}
			seen++
			content, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				return err
			}
			meta, err := keysrc.ReadMeta(name, content)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return nil
			}
			got := map[string]bool{}
			for _, g := range meta.Groups {
				for _, a := range g.Age {
					got[a.Recipient] = true
				}
			}
			i := slices.IndexFunc(rules, func(r []string) bool { return regexp.MustCompile(r[1]).MatchString(name) })
			if i < 0 {
				t.Errorf("%s: no rule in .sops.yaml", name)
				return nil
			}
			want := map[string]bool{}
			for ref := range strings.SplitSeq(rules[i][2], ", ") {
				want[keys[strings.TrimPrefix(ref, "*")]] = true
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s: recipients %v, .sops.yaml says %v", name, got, want)
			}
			if !got[keys["recovery"]] {
				t.Errorf("%s: the recovery key cannot open it", name)
			}
			if strings.Contains(name, "production") && (got[keys["web_staging"]] || got[keys["operators_staging"]]) {
				t.Errorf("%s: staging opens a secret of production", name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 6 {
		t.Errorf("%d secret files seen", seen)
	}
}

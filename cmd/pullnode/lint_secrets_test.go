package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/internal/sopsconf"
	"pullnode/keysrc/keysrctest"
	"pullnode/sync"
)

const lintRules = `keys:
  - &recovery @recovery
  - &operators @operators
  - &stage @stage
  - &prod @prod
creation_rules:
  - path_regex: ^hosts/stage/
    age: [*recovery, *operators, *stage]
  - path_regex: ^hosts/prod/
    age: [*recovery, *operators, *prod]
  - path_regex: ^secrets/production
    age: [*recovery, *operators, *prod]
`

// That a host of one environment opens nothing of another is proved from the
// recipients; so is that files are as .sops.yaml says and that there is a way back.
func TestLintSecrets(t *testing.T) {
	r, call := operatorRepo(t)
	ids := map[string]string{}
	for _, who := range []string{"recovery", "operators", "stage", "prod", "unknown", "other"} {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		ids[who] = id.Recipient().String()
	}
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	fill := func(text string) string {
		for who, id := range ids {
			text = strings.ReplaceAll(text, "@"+who, id)
		}
		return strings.ReplaceAll(text, "@pq", pq.Recipient().String())
	}
	file := func(who ...string) string {
		for i, w := range who {
			who[i] = cmpName(ids[w], w)
		}
		return keysrctest.SOPS(t, who...)
	}
	r.Write(sync.SignersPath, r.Signer("alice")+strings.Replace(r.Signer("second"), "second ", "alice ", 1))
	r.Write(".sops.yaml", fill(lintRules))
	r.Write("hosts/stage/host.nix", "{ system = \"x86_64-linux\"; environment = \"staging\"; }\n")
	r.Write("hosts/prod/host.nix", "{\n  # environment = \"staging\";\n  environment = \"production\";\n}\n")
	r.Write("hosts/stage/secrets.json", file("recovery", "operators", "stage"))
	r.Write("hosts/prod/secrets.json", file("recovery", "operators", "prod"))
	r.Write("secrets/production.json", file("recovery", "operators", "prod"))
	base := r.Commit("alice", "sound")
	if said := call(exitOK, "lint"); !strings.Contains(said, "nothing found") {
		t.Fatal(said)
	}
	var seen []string
	for _, c := range []struct {
		what  string
		files map[string]string
		exit  int
		want  []string
	}{
		{"a file of production for a host of staging", map[string]string{"secrets/production.json": file("recovery", "operators", "prod", "stage")}, exitFailed,
			[]string{"secrets/production.json is of production: the key stage of hosts/stage, which is of staging, opens it", "is encrypted for stage, which .sops.yaml does not name for it"}},
		{"a rule that would give it", map[string]string{".sops.yaml": strings.Replace(fill(lintRules), "production\n    age: [*recovery, *operators, *prod]", "production\n    age: [*recovery, *operators, *prod, *stage]", 1)}, exitFailed,
			[]string{"secrets/production.json (by the rule in line 11 of .sops.yaml) is of production: the key stage of hosts/stage", "secrets/production.json: is not encrypted for stage"}},
		{"a rule for a file that is not there yet", map[string]string{".sops.yaml": fill(lintRules) + "  - path_regex: ^secrets/staging\n    age: [*recovery, *operators, *prod]\n"}, exitFailed,
			[]string{"secrets/staging.yaml (by the rule in line 13 of .sops.yaml) is of staging: the key prod of hosts/prod, which is of production, opens it"}},
		{"a key without a name in both", map[string]string{
			".sops.yaml":               strings.NewReplacer("*prod]", "*prod, "+ids["unknown"]+"]", "*stage]", "*stage, "+ids["unknown"]+"]").Replace(fill(lintRules)),
			"hosts/stage/secrets.json": file("recovery", "operators", "stage", "unknown"), "hosts/prod/secrets.json": file("recovery", "operators", "prod", "unknown"),
			"secrets/production.json": file("recovery", "operators", "prod", "unknown")}, exitFailed,
			[]string{"opens both; a person's is named", "opens both; a person's is named"}[:1]},
		{"a host's key that is named as a person's", map[string]string{"hosts/stage/default.nix": "{ services.pullnode.settings.keys.recipient = \"" + ids["operators"] + "\"; }\n"}, exitFailed,
			[]string{"the key operators of hosts/stage, which is of staging, opens it"}},
		{"an environment that cannot be read", map[string]string{"hosts/stage/host.nix": "let environment = import ./x.nix; in { inherit environment; }\n"}, exitFailed,
			[]string{"hosts/stage/host.nix: the environment is not written as plain text"}},
		{"a file without the recovery key", map[string]string{"hosts/prod/secrets.json": file("operators", "prod")}, exitFailed,
			[]string{"hosts/prod/secrets.json: no recovery key opens it", "is not encrypted for recovery; sops updatekeys -y hosts/prod/secrets.json"}},
		{"a rule without it", map[string]string{".sops.yaml": strings.Replace(fill(lintRules), "[*recovery, *operators, *stage]", "[*operators, *stage]", 1), "hosts/stage/secrets.json": file("operators", "stage")}, exitFailed,
			[]string{".sops.yaml line 7: no recovery key opens what the rule is for", "hosts/stage/secrets.json: no recovery key opens it"}},
		{"a file without a rule", map[string]string{"other/x.json": file("recovery", "operators")}, exitFailed, []string{"other/x.json: .sops.yaml has no rule for it"}},
		{"a broken .sops.yaml", map[string]string{".sops.yaml": "creation_rules: [\n"}, exitFailed, []string{".sops.yaml is not YAML"}},
		{"the example's open key", map[string]string{".sops.yaml": strings.Replace(fill(lintRules), "*stage]", "*stage, "+exampleOpen+"]", 1), "hosts/stage/secrets.json": file("recovery", "operators", "stage", exampleOpen)}, exitFailed,
			[]string{"hosts/stage/secrets.json: everybody has the key"}},
		{"the example's lost key", map[string]string{".sops.yaml": strings.ReplaceAll(fill(lintRules), ids["recovery"], exampleLost[0]), "hosts/stage/secrets.json": file(exampleLost[0], "operators", "stage")}, exitFailed,
			[]string{"hosts/stage/secrets.json: nobody has the key recovery, which is the example's"}},
		{"no recovery key at all", map[string]string{".sops.yaml": strings.ReplaceAll(fill(lintRules), "recovery", "operator_bob")}, exitOK, []string{"· secrets  .sops.yaml names no recovery key"}},
		{"mixed recipients", map[string]string{".sops.yaml": fill(lintRules) + "  - path_regex: ^x\n    age: [*recovery, @pq]\n"}, exitOK, []string{"· secrets  .sops.yaml line 13: post-quantum and other recipients"}},
	} {
		r.Git("reset", "-q", "--hard", base)
		for name, text := range c.files {
			r.Write(name, fill(text))
		}
		r.Commit("alice", "a fault")
		said := call(c.exit, "lint")
		for _, w := range c.want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: want %q in\n%s", c.what, w, said)
			}
		}
		for who, id := range ids {
			said = strings.ReplaceAll(said, id, "age1<"+who+">")
		}
		seen = append(seen, "# "+c.what+"\n"+said)
	}
	golden(t, "lint-secrets", strings.Join(seen, "\n"))
}

func cmpName(id, otherwise string) string {
	if id != "" {
		return id
	}
	return otherwise
}

// The example fleet is sound by these rules, and the keys that lint refuses elsewhere
// are those that it has.
func TestLintExampleFleet(t *testing.T) {
	top := filepath.Join("..", "..")
	raw, err := os.ReadFile(filepath.Join(top, sopsconf.Name))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := sopsconf.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]string{exampleOpen}, exampleLost...)
	got := conf.Recipients()
	if slices.Sort(want); !slices.Equal(want, slices.Sorted(slices.Values(got))) {
		t.Errorf(".sops.yaml has %v, lint knows %v", got, want)
	}
	dir := t.TempDir()
	key, err := os.ReadFile(filepath.Join(top, "hosts", "example", "test-only-host-key"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := keysrctest.SSHRecipient(t, path); got != exampleOpen {
		t.Errorf("the example's key is %s", got)
	}
	list, err := exec.Command("git", "-C", top, "ls-files", "hosts", "secrets").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &secretLint{conf: conf, envs: map[string]string{}, pins: map[string][]string{}, add: t.Errorf, note: t.Errorf}
	for name := range strings.Lines(string(list)) {
		name = strings.TrimSpace(name)
		raw, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		s.see(name, raw)
	}
	s.run()
	if len(s.metas) < 5 || s.envs["web-staging"] != "staging" || s.envs["web-production"] != "production" {
		t.Errorf("%d files, %v", len(s.metas), s.envs)
	}
}

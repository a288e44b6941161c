package main

import (
	ed25519key "crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

// secretsRepo is a clone with the secrets of the example fleet.
func secretsRepo(t *testing.T) *gitrig.Repo {
	t.Helper()
	r := gitrig.New(t)
	for _, f := range []string{".sops.yaml", "hosts/example/secrets.yaml", "hosts/example/test-only-host-key", "secrets/staging.yaml"} {
		r.Write(f, string(read(t, filepath.Join("..", "..", f))))
	}
	r.Git("add", "-A")
	return r
}

func TestSecretCheck(t *testing.T) {
	r := secretsRepo(t)
	if out := typed("secret", "check", "--repo", r.Dir); !strings.Contains(out, "4 files: every secret is encrypted") || !strings.Contains(out, "exit status 0") {
		t.Error(out)
	}
	r.Write("secrets/staging.yaml", "alerts-token: plain\n")
	r.Write("hosts/web01/secrets.json", "{}\n")
	r.Write("notes.txt", "one\ntwo AGE-SECRET-KEY-1"+strings.Repeat("Q", 58)+"\n")
	r.Write("id", "-----BEGIN OPENSSH PRIVATE KEY-----\n"+strings.Repeat("b3Bl", 16)+"\n")
	r.Write("manual.txt", "a file that begins with -----BEGIN OPENSSH PRIVATE KEY----- holds a key\n")
	r.Write("hosts/example/test-only.age", "AGE-SECRET-KEY-1"+strings.Repeat("Q", 58)+"\n")
	if out := typed("secret", "check", "--staged", "--repo", r.Dir); strings.Contains(out, "notes.txt") {
		t.Errorf("what is not staged is not looked at: %s", out)
	}
	r.Git("add", "-A")
	for _, args := range [][]string{{}, {"--staged"}} {
		out := typed(append([]string{"secret", "check", "--repo", r.Dir}, args...)...)
		for _, say := range []string{"✗ secrets/staging.yaml: is not encrypted with sops", "✗ hosts/web01/secrets.json: is not encrypted with sops",
			"✗ notes.txt:2: holds an age identity", "✗ id:1: holds a private key", "✗ hosts/example/test-only.age:1: holds an age identity", "5 of ", "exit status 1"} {
			if !strings.Contains(out, say) {
				t.Errorf("%v: want %q in\n%s", args, say, out)
			}
		}
		if strings.Contains(out, "plain") || strings.Contains(out, "QQQQ") {
			t.Errorf("the content is shown: %s", out)
		}
	}
	if out := typed("secret", "check", "--json", "--repo", r.Dir); !strings.Contains(out, `"file": "notes.txt"`) || !strings.Contains(out, `"line": 2`) {
		t.Error(out)
	}
}

// The hook keeps git from committing what the check refuses.
func TestPreCommitHook(t *testing.T) {
	r := secretsRepo(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "pullnode")
	if err := os.WriteFile(bin, []byte("#!/bin/sh\nPULLNODE_TEST_MAIN=1 exec "+self+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULLNODE", bin)
	if out := typed("hook", "--repo", r.Dir); !strings.Contains(out, "pre-commit") || !strings.Contains(out, "exit status 0") {
		t.Fatal(out)
	}
	commit := func() (string, error) {
		raw, err := exec.Command("git", "-C", r.Dir, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "x").CombinedOutput()
		return string(raw), err
	}
	if out, err := commit(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.Write("secrets/new.yaml", "token: plain\n")
	r.Git("add", "-A")
	if out, err := commit(); err == nil || !strings.Contains(out, "secrets/new.yaml: is not encrypted") {
		t.Errorf("%v: %s", err, out)
	}
	// git makes a merge by itself, without asking pre-commit.
	git := func(args ...string) (string, error) {
		raw, err := exec.Command("git", append([]string{"-C", r.Dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...).CombinedOutput()
		return string(raw), err
	}
	for _, args := range [][]string{{"checkout", "-qb", "other"}, {"commit", "-q", "--no-verify", "-m", "planted"}, {"checkout", "-q", "-"}, {"commit", "-q", "--allow-empty", "-m", "y"}} {
		if out, err := git(args...); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	if out, err := git("merge", "--no-edit", "other"); err == nil || !strings.Contains(out, "secrets/new.yaml: is not encrypted") {
		t.Errorf("%v: %s", err, out)
	}
}

// sops is driven as it is today: `sops edit FILE`, with 200 for "nothing changed".
func TestSecretNewAndEdit(t *testing.T) {
	r := secretsRepo(t)
	bin := t.TempDir()
	sops := "#!/bin/sh\ntest \"$1\" = edit || exit 9\ncase \"$SOPS_DOES\" in\nnothing) exit 200 ;;\nplain) echo 'a: b' > \"$2\" ;;\nfail) exit 3 ;;\n*) cp hosts/example/secrets.yaml \"$2\" ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "sops"), []byte(sops), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, c := range []struct{ does, verb, file, say string }{
		{"", "new", "hosts/web01/secrets.yaml", "has no rule for hosts/web01/secrets.yaml"},
		{"", "new", "../x.yaml", "not a path inside the repository"},
		{"", "new", "hosts/example/secrets.yaml", "is there already"},
		{"", "edit", "secrets/production.yaml", "there is no secrets/production.yaml"},
		{"nothing", "new", "secrets/production.yaml", "was not made: nothing was saved"},
		{"fail", "new", "secrets/production.yaml", "sops edit secrets/production.yaml: exit status 3"},
		{"plain", "new", "secrets/production.yaml", "is not encrypted"},
		{"", "edit", "secrets/production.yaml", "secrets/production.yaml is encrypted; next: git add"},
		{"nothing", "edit", "hosts/example/secrets.yaml", "is encrypted"},
	} {
		t.Setenv("SOPS_DOES", c.does)
		if out := typed("secret", c.verb, c.file, "--repo", r.Dir); !strings.Contains(out, c.say) {
			t.Errorf("%+v: %s", c, out)
		}
	}
}

// The rules are those of what is going to be committed, too.
func TestSecretCheckStagedRules(t *testing.T) {
	r := secretsRepo(t)
	rules := string(read(t, filepath.Join(r.Dir, ".sops.yaml")))
	r.Write(".sops.yaml", rules+"  - path_regex: ^tokens/\n")
	r.Write("tokens/a", "plain\n")
	r.Git("add", "-A")
	r.Write(".sops.yaml", rules)
	if out := typed("secret", "check", "--staged", "--repo", r.Dir); !strings.Contains(out, "tokens/a: is not encrypted with sops") {
		t.Error(out)
	}
}

// Private keys of every kind, whatever the file's name, and values that were added to
// an encrypted file by hand. What only looks like them may be committed.
func TestSecretCheckKinds(t *testing.T) {
	r := secretsRepo(t)
	r.Commit("", "before")
	line := strings.Repeat("Ab1+", 16)
	ed25519, err := makeHostKey("x")
	mustDo(t, err)
	_, private, err := ed25519key.GenerateKey(rand.Reader)
	mustDo(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	mustDo(t, err)
	staging := string(read(t, filepath.Join("..", "..", "secrets/staging.yaml")))
	for name, c := range map[string]struct{ text, say string }{
		"1:key":               {string(ed25519), "holds a private key"},
		"new\nline":           {string(ed25519), "holds a private key"},
		"-x":                  {string(ed25519), "holds a private key"},
		"ssh2":                {"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"x\"\n" + line + "\n", "holds a private key"},
		"a.ppk":               {"PuTTY-User-Key-File-3" + ": ssh-ed25519\nEncryption: none\nPublic-Lines: 1\n" + line + "\nPrivate-Lines: 1\n" + line + "\n", "holds a private key of PuTTY"},
		"wg0.conf":            {"[Interface]\nPrivateKey = " + line[:43] + "=\n", "holds a private key of WireGuard"},
		"cache":               {"cache.example.org-1:" + (line + line)[:86] + "==\n", "holds a signing key of Nix"},
		"manifest.json":       {`{"data":"` + base64.StdEncoding.EncodeToString(ed25519) + `"}`, "holds a private key in base64"},
		"key.der":             {string(der), "holds a private key (PKCS #8, DER)"},
		".env":                {"TOKEN=x\n", "is not encrypted with sops"},
		"secrets/one.yaml":    {"evil: plain\n" + staging, "is encrypted with sops but for evil"},
		"secrets/deep.yaml":   {"a:\n  - b: 1\n" + staging, "is encrypted with sops but for a.b"},
		"secrets/suffix.yaml": {"a_unencrypted: plain\n" + staging, ""},
		"secrets/empty.yaml":  {"a: \"\"\nb: null\n" + staging, ""},
		"cache.pub":           {"cache.example.org-1:" + line[:43] + "=\n", ""},
		"wg.nix":              {`{ publicKey = "` + line[:43] + `="; privateKeyFile = "/run/secrets/wg"; }`, ""},
		"read.md":             {"PuTTY-User-Key-File-3: is how they begin; -----BEGIN OPENSSH PRIVATE KEY-----\n", ""},
	} {
		path := filepath.Join(r.Dir, name)
		mustDo(t, os.WriteFile(path, []byte(c.text), 0o644))
		r.Git("add", "--", path)
		out := typed("secret", "check", "--staged", "--repo", r.Dir)
		if strings.Contains(out, "exit status 0") != (c.say == "") || !strings.Contains(out, c.say) {
			t.Errorf("%q: want %q in\n%s", name, c.say, out)
		}
		r.Git("rm", "-qf", "--", path)
	}
}

package main

import (
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

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/gitrig"
	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// keyOps is a clone with real SOPS files, an operator who can open them, and hosts.
type keyOps struct {
	*gitrig.Repo
	t    *testing.T
	ids  map[string]*age.X25519Identity
	sops string
	seen []string // what typed has shown, for a golden file
}

const opsRules = `# Who opens what.
keys:
  - &recovery @recovery
  - &operators @operators
  - &web01 @web01 # in the cellar
  - &web02 @web02

creation_rules:
  - path_regex: ^hosts/web01/   # its own
    key_groups:
      - age: [*recovery, *operators, *web01]
  - path_regex: ^hosts/web02/
    key_groups:
      - age: [*recovery, *operators, *web02]
  - path_regex: ^secrets/shared\.yaml$
    key_groups:
      - age:
          - *recovery
          - *operators # edits
          - *web01
          - *web02
`

func newKeyOps(t *testing.T) *keyOps {
	t.Helper()
	o := &keyOps{t: t, ids: map[string]*age.X25519Identity{}, sops: keysrctest.SopsCLI(t)}
	o.Repo = gitrig.New(t)
	for k, v := range map[string]string{"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"} {
		t.Setenv(k, v)
	}
	bin := t.TempDir()
	if err := os.Symlink(o.sops, filepath.Join(bin, "sops")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	rules := opsRules
	for _, who := range []string{"recovery", "operators", "web01", "web02"} {
		rules = strings.ReplaceAll(rules, "@"+who, o.key(who))
	}
	o.Write(".sops.yaml", rules)
	key := filepath.Join(t.TempDir(), "operators.age")
	if err := os.WriteFile(key, []byte(o.ids["operators"].String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOPS_AGE_KEY_FILE", key)
	o.Write("hosts/web01/default.nix", "{ services.pullnode.settings.keys.recipient = \""+o.key("web01")+"\"; }\n")
	o.Write("hosts/web02/default.nix", "{ }\n")
	o.secret("hosts/web01/secrets.yaml", "db:\n  password: hunter2\n  user: web\ntoken: geheim\n")
	o.secret("hosts/web02/secrets.yaml", "token: two\n")
	o.secret("secrets/shared.yaml", "smtp: hunter2\n")
	o.commit("begin")
	return o
}

// key gives somebody's recipient.
func (o *keyOps) key(who string) string {
	if o.ids[who] == nil {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			o.t.Fatal(err)
		}
		o.ids[who] = id
	}
	return o.ids[who].Recipient().String()
}

func (o *keyOps) secret(name, text string) {
	o.t.Helper()
	o.Write(name, text)
	cmd := exec.Command(o.sops, "encrypt", "-i", name)
	cmd.Dir = o.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("%v: %s", err, out)
	}
}

func (o *keyOps) commit(message string) {
	o.t.Helper()
	o.Git("add", "-A")
	o.Git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", message)
}

func (o *keyOps) read(name string) string {
	o.t.Helper()
	raw, err := os.ReadFile(filepath.Join(o.Dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(raw)
}

// opens says whether an identity opens a file, by age's own rules.
func (o *keyOps) opens(id age.Identity, name string) bool {
	o.t.Helper()
	m, err := keysrc.ReadMeta(name, []byte(o.read(name)))
	if err != nil {
		o.t.Fatal(err)
	}
	return keysrc.Preflight([]age.Identity{id}, []keysrc.Meta{m})[0].State == keysrc.OK
}

// enc is the encrypted data key of the operators, which a new data key changes; so
// does updatekeys, unlike the encrypted values.
func (o *keyOps) cipher(name string) string {
	return strings.Join(regexp.MustCompile(`data:[^,]+`).FindAllString(o.read(name), -1), " ")
}

// call runs a command and keeps what it says.
func (o *keyOps) call(exit int, args ...string) string {
	o.t.Helper()
	var out, errs bytes.Buffer
	got := run(append(args, "--repo", o.Dir), &out, &errs)
	said := out.String() + errs.String()
	if got != exit {
		o.t.Fatalf("pullnode %s: exit %d, want %d\n%s", strings.Join(args, " "), got, exit, said)
	}
	o.seen = append(o.seen, fmt.Sprintf("$ pullnode %s\n%sexit status %d\n", strings.Join(args, " "), said, exit))
	return said
}

// golden compares what was said, with names for the keys and paths of this run.
func (o *keyOps) golden(name string, more ...string) {
	o.t.Helper()
	all := strings.Join(o.seen, "\n")
	for i := 0; i < len(more); i += 2 {
		all = strings.ReplaceAll(all, more[i], more[i+1])
	}
	all = strings.ReplaceAll(all, o.Dir, "REPO")
	for who, id := range o.ids {
		all = strings.ReplaceAll(all, id.Recipient().String(), "age1<"+who+">")
	}
	n := map[string]string{}
	all = regexp.MustCompile(`age1[0-9a-z]{50,}|age1pq1[.0-9a-z]+`).ReplaceAllStringFunc(all, func(s string) string {
		if n[s] == "" {
			n[s] = fmt.Sprintf("age1<new%d>", len(n)+1)
		}
		return n[s]
	})
	all = regexp.MustCompile(`\d+ (s|min) ago`).ReplaceAllString(all, "N s ago")
	golden(o.t, name, strings.ReplaceAll(all, ": \n", ":\n"))
}

// sshKey makes an SSH host key.
func sshKey(t *testing.T) (path, fingerprint string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "ssh_host_ed25519_key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return path, ssh.FingerprintSHA256(s.PublicKey())
}

func gitPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

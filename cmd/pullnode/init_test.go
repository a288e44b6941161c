package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pullnode/internal/config"
	"pullnode/sync"
)

// operator is somebody at a terminal, with a home and a repository of his own.
type operator struct {
	t    *testing.T
	home string
	repo string
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{t: t, home: t.TempDir(), repo: filepath.Join(t.TempDir(), "infra")}
	o.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", filepath.Join(o.home, "id"))
	o.must("git", "init", "-q", "-b", "main", o.repo)
	o.git("config", "user.email", "alice@example.org")
	o.git("config", "user.name", "alice")
	o.git("config", "user.signingkey", "~/id.pub")
	return o
}

func (o *operator) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+o.home, "GIT_CONFIG_GLOBAL="+filepath.Join(o.home, "gitconfig"), "GIT_CONFIG_SYSTEM=/dev/null", "LC_ALL=C", "PULLNODE_TEST_MAIN=1")
	return cmd
}

func (o *operator) must(name string, args ...string) string {
	o.t.Helper()
	out, err := o.command(name, args...).CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (o *operator) git(args ...string) string {
	o.t.Helper()
	return o.must("git", append([]string{"-C", o.repo}, args...)...)
}

// commit makes an unsigned commit that adds a file.
func (o *operator) commit(name string) {
	o.t.Helper()
	write(o.t, filepath.Join(o.repo, name), name)
	o.git("add", name)
	o.git("commit", "-q", "--no-gpg-sign", "-m", name)
}

// init types pullnode init and gives these answers; it gives what was printed and
// the exit status.
func (o *operator) init(answers string, args ...string) (string, int) {
	o.t.Helper()
	self, err := os.Executable()
	mustDo(o.t, err)
	cmd := o.command(self, append([]string{"init", "--repo", o.repo}, args...)...)
	cmd.Stdin = strings.NewReader(answers)
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		return string(out), exit.ExitCode()
	}
	mustDo(o.t, err)
	return string(out), 0
}

// introduced checks that the repository is introduced by a commit that a node
// takes, and that it holds one file.
func (o *operator) introduced() {
	o.t.Helper()
	intro := o.git("config", "pullnode.introduction")
	i, err := sync.ParseIntroduction(intro)
	mustDo(o.t, err)
	if head := o.git("rev-parse", "HEAD"); string(i.Commit) != head {
		o.t.Errorf("introduced %s, HEAD is %s", i.Commit, head)
	}
	if files := o.git("show", "--name-only", "--format=", "HEAD"); files != "" && files != sync.SignersPath {
		o.t.Errorf("the commit has %q", files)
	}
	_, v, err := cloneJudge{o.t.Context(), filepath.Join(o.repo, ".git")}.judge(string(i.Commit), sync.Policy{Introduction: i})
	if err != nil || v.Refused() {
		o.t.Errorf("a node says %s %s %v", v.Name, v.Reason, err)
	}
}

var scrubInit = regexp.MustCompile(`[0-9a-f]{40}@SHA256:\S{43}|SHA256:\S{43}|AAAA\S+`)

func (o *operator) scrub(s string) string {
	return strings.ReplaceAll(scrubInit.ReplaceAllStringFunc(s, func(m string) string {
		switch {
		case strings.Contains(m, "@"):
			return "COMMIT@FINGERPRINT"
		case strings.HasPrefix(m, "AAAA"):
			return strings.Repeat("AAAA", 1) + "KEY" + m[strings.LastIndexAny(m, "KEY\"")+1:]
		}
		return "FINGERPRINT"
	}), o.home, "~")
}

// A fresh repository without a commit: yes to signing, no recovery key.
func TestInitWithoutCommits(t *testing.T) {
	o := newOperator(t)
	out, exit := o.init("\n\n")
	if exit != 0 {
		t.Fatal(out)
	}
	golden(t, "init", strings.TrimRight(o.scrub(out), "\n")+"\n")
	o.introduced()
	if o.git("config", "commit.gpgsign") != "true" || o.git("config", "gpg.format") != "ssh" {
		t.Error("git does not sign by itself")
	}
	// What is printed is what a node reads.
	m := regexp.MustCompile(`(?s)settings = \{(.*?)\};`).FindStringSubmatch(out)[1]
	set := map[string]string{"hostName": "web01"}
	for _, f := range regexp.MustCompile(`(\w+) = ("[^"]*");`).FindAllStringSubmatch(m, -1) {
		set[f[1]] = strings.Trim(f[2], `"`)
	}
	raw, _ := json.Marshal(set)
	if _, err := config.Parse(raw); err != nil {
		t.Errorf("%s: %v", raw, err)
	}
	// Once more says the same and changes nothing.
	head := o.git("rev-parse", "HEAD")
	again, exit := o.init("")
	if exit != 0 || !strings.Contains(again, o.git("config", "pullnode.introduction")) || o.git("rev-parse", "HEAD") != head {
		t.Errorf("again: exit %d\n%s", exit, again)
	}
}

// Whatever else is changed or staged stays as it is.
func TestInitInADirtyTree(t *testing.T) {
	o := newOperator(t)
	o.commit("flake.nix")
	write(t, filepath.Join(o.repo, "flake.nix"), "changed")
	write(t, filepath.Join(o.repo, "staged"), "staged")
	write(t, filepath.Join(o.repo, "new"), "new")
	write(t, filepath.Join(o.repo, ".gitignore"), ".pullnode\n")
	o.git("add", "staged")
	key := filepath.Join(t.TempDir(), "recovery")
	out, exit := o.init("n\n" + key + "\n")
	if exit != 0 {
		t.Fatal(out)
	}
	o.introduced()
	if got := o.git("status", "--porcelain"); got != "M flake.nix\nA  staged\n?? .gitignore\n?? new" {
		t.Errorf("status\n%s", got)
	}
	if v, err := o.command("git", "-C", o.repo, "config", "commit.gpgsign").Output(); err == nil {
		t.Errorf("commit.gpgsign is %s", v)
	}
	pub := strings.Fields(o.must("ssh-keygen", "-y", "-f", key))[1]
	if !strings.Contains(out, "recoveryKey = \"ssh-ed25519 "+pub) {
		t.Errorf("the recovery key %s is not in\n%s", pub, out)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// Signers that are there already are shown, and only trusted when somebody says so.
func TestInitWithSignersThere(t *testing.T) {
	o := newOperator(t)
	o.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bob", "-f", filepath.Join(o.home, "bob"))
	pub, _ := os.ReadFile(filepath.Join(o.home, "bob.pub"))
	mustDo(t, os.MkdirAll(filepath.Join(o.repo, ".pullnode"), 0o755))
	file := filepath.Join(o.repo, sync.SignersPath)
	bob := "# ours\nbob@example.org " + string(pub)
	write(t, file, bob)
	o.git("add", ".")
	o.git("commit", "-q", "--no-gpg-sign", "-m", "signers")
	out, exit := o.init("\n")
	if exit != exitFailed || !strings.Contains(out, "  bob@example.org SHA256:") || !strings.Contains(out, "nothing was changed") || !strings.Contains(out, "git config pullnode.introduction") {
		t.Errorf("exit %d\n%s", exit, out)
	}
	if out, exit = o.init("y\n\n\n"); exit != 0 {
		t.Fatal(out)
	}
	o.introduced()
	raw, _ := os.ReadFile(file)
	if !strings.HasPrefix(string(raw), bob) || !strings.Contains(string(raw), "\nalice@example.org namespaces=\"git\" ssh-ed25519 ") {
		t.Errorf("%s", raw)
	}
	// In a clone, where git knows no introduction, the same file again.
	o.git("config", "--unset", "pullnode.introduction")
	if out, exit = o.init("y\n\n"); exit != 0 {
		t.Fatal(out)
	}
	o.introduced()
	if after, _ := os.ReadFile(file); string(after) != string(raw) {
		t.Errorf("%s", after)
	}
	o.git("config", "--unset", "pullnode.introduction")
	write(t, file, "* ssh-ed25519 AAAA\n")
	if out, exit = o.init("y\n\n\n"); exit != exitFailed || !strings.Contains(out, "allowed_signers line 1: principal \"*\"") {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

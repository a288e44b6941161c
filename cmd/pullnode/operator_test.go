package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

// operatorRepo is a clone whose git signs as alice.
func operatorRepo(t *testing.T) (r *gitrig.Repo, call func(exit int, args ...string) string) {
	t.Helper()
	r = gitrig.New(t)
	for k, v := range map[string]string{"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "alice",
		"GIT_AUTHOR_EMAIL": "alice@example.org", "GIT_COMMITTER_NAME": "alice", "GIT_COMMITTER_EMAIL": "alice@example.org"} {
		t.Setenv(k, v)
	}
	r.Signers("alice")
	intro := r.Commit("alice", "introduce")
	for k, v := range map[string]string{"gpg.format": "ssh", "user.signingkey": r.Key("alice"), "pullnode.introduction": r.Introduction(intro, "alice")} {
		r.Git("config", k, v)
	}
	return r, func(exit int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(append(args, "--repo", r.Dir), &out, &errs); got != exit {
			t.Fatalf("pullnode %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, exit, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
}

// upstream gives the clone a remote that its branches follow.
func upstream(t *testing.T, r *gitrig.Repo, branches ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "origin.git")
	r.Git("init", "-q", "--bare", "-b", "main", dir)
	r.Git("remote", "add", "origin", dir)
	r.Git(append([]string{"push", "-q", "-u", "origin"}, branches...)...)
	return dir
}

func TestApprove(t *testing.T) {
	r, call := operatorRepo(t)
	r.Write("site", "one\n")
	tip := r.Commit("alice", "a change")
	origin := upstream(t, r, "main")
	said := call(exitOK, "approve", "--yes", "--push")
	head := r.Head()
	for _, c := range []struct{ got, want string }{
		{r.Git("rev-parse", "HEAD^"), tip}, {r.Git("rev-parse", "HEAD^{tree}"), r.Git("rev-parse", tip+"^{tree}")},
		{r.Git("--git-dir", origin, "rev-parse", "main"), head}, {r.Git("status", "--porcelain"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	for _, want := range []string{"a change", "+one"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not shown:\n%s", want, said)
		}
	}
	call(exitOK, "verify", "main")

	// Somebody pushed meanwhile: an approval of the old tip would be a fork.
	r.Commit("alice", "another change")
	r.Git("push", "-q")
	r.Git("reset", "-q", "--hard", head)
	if said := call(exitFailed, "approve", "--yes"); !strings.Contains(said, "lacks commits") || r.Head() != head {
		t.Error(said)
	}
	r.Git("config", "user.signingkey", "/nonexistent")
	r.Git("merge", "-q", "--ff-only", "origin/main")
	head = r.Head()
	if said := call(exitFailed, "approve", "--yes"); !strings.Contains(said, "could not sign") || r.Head() != head {
		t.Error(said)
	}
}

// No answer is no.
func TestApproveAsks(t *testing.T) {
	r, call := operatorRepo(t)
	head := r.Head()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	old := os.Stdin
	os.Stdin = null
	defer func() { os.Stdin = old }()
	if said := call(exitFailed, "approve"); !strings.Contains(said, "nothing was done") || r.Head() != head {
		t.Error(said)
	}
}

func TestEndorse(t *testing.T) {
	r, call := operatorRepo(t)
	r.Git("branch", "deploy")
	origin := upstream(t, r, "main", "deploy")
	r.Write("site", "by a pull request\n")
	tip := r.Commit("", "Merge pull request #7")
	r.Git("push", "-q")
	base := r.Git("rev-parse", "deploy")
	said := call(exitOK, "endorse", "main", "--onto", "deploy", "--push", "--yes")
	for _, want := range []string{"Merge pull request #7", "+by a pull request"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not shown:\n%s", want, said)
		}
	}
	for _, c := range []struct{ got, want string }{
		{r.Git("rev-parse", "deploy^1"), base}, {r.Git("rev-parse", "deploy^2"), tip},
		{r.Git("rev-parse", "deploy^{tree}"), r.Git("rev-parse", tip+"^{tree}")},
		{r.Git("log", "-1", "--format=%(trailers:key=Pullnode-Endorse,valueonly)", "deploy"), tip},
		{r.Git("--git-dir", origin, "rev-parse", "deploy"), r.Git("rev-parse", "deploy")},
	} {
		if strings.TrimSpace(c.got) != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if said := call(exitOK, "endorse", "main", "--yes"); !strings.Contains(said, "already") {
		t.Error(said)
	}

	// What does not merge by itself is for a person.
	r.Git("switch", "-q", "deploy")
	r.Write("site", "by hand\n")
	r.Commit("alice", "by hand")
	r.Git("push", "-q")
	r.Git("switch", "-q", "main")
	r.Write("site", "by another pull request\n")
	r.Commit("", "Merge pull request #8")
	deploy := r.Git("rev-parse", "deploy")
	if said := call(exitFailed, "endorse", "main", "--yes"); !strings.Contains(said, "do not merge") || r.Git("rev-parse", "deploy") != deploy {
		t.Error(said)
	}
}

func TestRotateSigner(t *testing.T) {
	r, call := operatorRepo(t)
	old, fresh := r.Key("alice"), r.Key("alice-new")
	said := call(exitOK, "rotate-signer", old+".pub", fresh+".pub", "--key", fresh, "--yes")
	if n := r.Git("rev-list", "--count", "HEAD"); n != "3" {
		t.Errorf("%s commits\n%s", n, said)
	}
	list := r.Git("show", "HEAD:.pullnode/allowed_signers")
	was, _ := os.ReadFile(old + ".pub")
	if strings.Contains(list, strings.Fields(string(was))[1]) || r.Git("status", "--porcelain") != "" {
		t.Errorf("%s\n%s", list, r.Git("status"))
	}
	call(exitOK, "verify", "main")
	r.Write("site", "by the old key\n")
	r.Commit("alice", "the old key signs")
	if said := call(exitFailed, "verify", "main"); !strings.Contains(said, "UNKNOWN-KEY") {
		t.Error(said)
	}
}

func TestPrePushHook(t *testing.T) {
	r, call := operatorRepo(t)
	upstream(t, r, "main")
	call(exitOK, "hook")
	call(exitOK, "hook", "--branches", "main,deploy") // its own it replaces
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary is pullnode when it is told so: see TestMain.
	wrapper := filepath.Join(t.TempDir(), "pullnode")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nPULLNODE_TEST_MAIN=1 exec "+self+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PULLNODE", wrapper)
	r.Write("site", "one\n")
	r.Commit("alice", "signed")
	r.Git("push", "-q")
	r.Write("site", "two\n")
	bad := r.Commit("", "unsigned")
	if out, err := gitIn(t.Context(), r.Dir, "push", "-q"); err == nil || !strings.Contains(err.Error(), "UNSIGNED") {
		t.Errorf("pushed: %s, %v", out, err)
	}
	r.Git("push", "-q", "origin", bad+":refs/heads/topic") // no node follows it
	hook := r.Git("rev-parse", "--path-format=absolute", "--git-path", "hooks/pre-push")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if said := call(exitFailed, "hook"); !strings.Contains(said, "is there already") {
		t.Error(said)
	}
}

// A rewritten history is followed after a reset by the admins that the node knows,
// and by the recovery key without them.
func TestResetCommand(t *testing.T) {
	r, call := operatorRepo(t)
	intro := r.Head()
	r.Write("site", "one\n")
	accepted := r.Commit("alice", "accepted")
	r.Git("reset", "-q", "--hard", intro)
	r.Write("site", "two\n")
	r.Commit("", "rewritten, and not even signed")
	if said := call(exitFailed, "verify", "main", "--trusted", accepted); !strings.Contains(said, "FORK") {
		t.Error(said)
	}
	call(exitOK, "reset", "--yes")
	if said := call(exitOK, "verify", "main", "--trusted", accepted); !strings.Contains(said, "reset") {
		t.Error(said)
	}

	r.Git("reset", "-q", "--hard", intro)
	r.Signers("bob")
	r.Commit("", "alice has lost her key")
	offline := r.Key("offline")
	pub, err := os.ReadFile(offline + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	call(exitOK, "reset", "--yes", "--key", offline)
	if said := call(exitFailed, "verify", "main", "--trusted", accepted); !strings.Contains(said, "no admin") {
		t.Error(said)
	}
	if said := call(exitOK, "verify", "main", "--trusted", accepted, "--recovery-key", string(pub)); !strings.Contains(said, "recovery key") {
		t.Error(said)
	}
}

// What a forge merged by itself says what to do, and that does it.
func TestForgeFlow(t *testing.T) {
	r, call := operatorRepo(t)
	r.Git("branch", "deploy")
	origin := upstream(t, r, "main", "deploy")
	r.Write("site", "by a pull request\n")
	r.Git("add", "-A")
	r.Git("-c", "user.name=GitHub", "-c", "user.email=noreply@github.com", "-c", "commit.gpgsign=false",
		"commit", "-q", "-m", "Merge pull request #7", "--author", "carol <carol@example.org>")
	forge := r.Head()
	r.RawCommit(strings.Replace(r.Git("cat-file", "commit", forge)+"\n", "alice <alice@example.org>", "GitHub <noreply@github.com>", 1))
	r.Git("push", "-q")
	const do = "pullnode endorse main --onto deploy --push"
	if said := call(exitFailed, "verify", "main"); !strings.Contains(said, "UNSIGNED") || !strings.Contains(said, do) {
		t.Error(said)
	}
	call(exitOK, append(strings.Fields(do)[1:], "--yes")...)
	call(exitOK, "verify", "deploy")
	if r.Git("--git-dir", origin, "rev-parse", "deploy") != r.Git("rev-parse", "deploy") {
		t.Error("not pushed")
	}
}

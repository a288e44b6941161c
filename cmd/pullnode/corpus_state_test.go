package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

// Over several calls with one state file, as one node: what was accepted is never
// gone back from but by a signed reset, and only once.
func TestCorpusState(t *testing.T) {
	s := newSite(t)
	state := filepath.Join(t.TempDir(), "state")
	step := func(say, want string) {
		t.Helper()
		if v := s.verify("--host", "x", "--state", state); string(v.Name) != want {
			t.Fatalf("%s: %s %s, want %s", say, v.Name, v.Reason, want)
		}
	}
	set := func(id string) { s.Git("reset", "-q", "--hard", id) }

	step("B8 first sight", "DEPLOY")
	step("again", "UP-TO-DATE")
	s.Write("a", "1")
	good := s.Commit("alice", "good")
	step("new", "DEPLOY")
	set(s.base)
	step("A3 rewound", "ROLLBACK")
	s.Write("a", "2")
	fork := s.Commit("alice", "amended and forced")
	step("A40 without a reset", "FORK")
	s.Commit("mallory", "Reset\n\nPullnode-Reset: 7")
	step("A40 a stranger's reset", "FORK")
	set(fork)
	s.Commit("", "Reset\n\nPullnode-Reset: 7")
	step("A40 an unsigned reset", "FORK")
	set(fork)
	reset := s.Commit("alice", "Reset\n\nPullnode-Reset: 7")
	step("A40 signed", "DEPLOY")
	s.Write("a", "3")
	s.Commit("bob", "goes on")
	step("after the reset", "DEPLOY")
	set(good)
	step("A39 the old line again", "FORK")
	s.Git("checkout", "-q", "-B", "main", s.base)
	s.Write("a", "4")
	s.Commit("alice", "another line")
	s.Commit("alice", "Reset\n\nPullnode-Reset: 7")
	step("the number was used", "FORK")
	s.Git("checkout", "-q", "-B", "main", reset)
	step("B8 the reset itself, replayed", "ROLLBACK")
	s.Git("checkout", "-q", "--orphan", "elsewhere")
	s.Commit("alice", "Reset\n\nPullnode-Reset: 9")
	s.Git("branch", "-M", "main")
	step("A7 a reset to a history of its own", "FORK")

	raw, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, raw[:len(raw)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := s.cli("verify", "--repo", s.Dir, "--introduction", s.Introduction(s.intro, s.key), "--state", state); code != exitUsage || !strings.Contains(out, "state") {
		t.Errorf("a damaged state file: exit %d %s", code, out)
	}
}

// What PENDING shows a node does not move it: a developer with a hostile server
// cannot keep production from the genuine line.
func TestCorpusPendingMovesNothing(t *testing.T) {
	s := newTeam(t)
	state := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct{ say, want, who string }{
		{"first", "DEPLOY", ""}, {"a developer's fork", "PENDING", "carol"}, {"the genuine line", "PENDING", "alice"}, {"approved", "DEPLOY", "bob"},
	} {
		switch c.say {
		case "a developer's fork":
			s.Write("evil", "1")
			s.Commit("carol", "shown to production only")
		case "the genuine line":
			s.back()
			s.Write("a", "2")
			s.Commit("alice", "genuine")
		case "approved":
			s.Commit("bob", "approve")
		}
		if v := s.verify("--host", "prod-1", "--state", state); string(v.Name) != c.want {
			t.Fatalf("%s: %s %s, want %s", c.say, v.Name, v.Reason, c.want)
		}
	}
}

// A clone that is cut off, of another object format or no repository is told
// apart from one that is refused.
func TestCorpusStrangeClones(t *testing.T) {
	s := newSite(t)
	s.Write("a", "1")
	s.Commit("alice", "next")
	intro := s.Introduction(s.intro, s.key)
	shallow := filepath.Join(t.TempDir(), "shallow")
	s.tool("", "git", "clone", "-q", "--depth", "1", "file://"+s.Dir, shallow)
	other := filepath.Join(t.TempDir(), "sha256")
	s.tool("", "git", "init", "-q", "--object-format=sha256", "-b", "main", other)
	s.tool("", "git", "-C", other, "commit", "-q", "--allow-empty", "-m", "x")
	long := s.tool("", "git", "-C", other, "rev-parse", "main")
	bare := filepath.Join(t.TempDir(), "bare.git")
	s.tool("", "git", "clone", "-q", "--bare", s.Dir, bare)
	for _, c := range []struct {
		say  string
		code int
		want string
		args []string
	}{
		{"C15 shallow", exitFailed, "git fetch --unshallow", []string{"--repo", shallow, "--introduction", intro}},
		{"SHA-256", exitFailed, "sha256", []string{"--repo", other, "--introduction", intro}},
		{"SHA-256 with its own introduction", exitFailed, `"commit": "` + long, []string{"--repo", other, "--introduction", long + "@" + s.Fingerprint("alice")}},
		{"bare", exitOK, "DEPLOY", []string{"--repo", bare, "--introduction", intro}},
		{"no repository", exitUsage, "not a Git repository", []string{"--repo", t.TempDir(), "--introduction", intro}},
		{"no such branch", exitUsage, "no branch", []string{"--repo", bare, "--introduction", intro, "--branch", "nowhere"}},
		{"A branch that is an option", exitUsage, "no branch", []string{"--repo", bare, "--introduction", intro, "--branch", "--all"}},
		{"a branch that is an expression", exitUsage, "no branch", []string{"--repo", bare, "--introduction", intro, "--branch", "main~1"}},
		{"a branch that leads elsewhere", exitUsage, "no branch", []string{"--repo", bare, "--introduction", intro, "--branch", "../heads/main"}},
		{"no introduction", exitUsage, "introduction", []string{"--repo", bare, "--introduction", "x@y"}},
		{"another key", exitFailed, "UNKNOWN-KEY", []string{"--repo", bare, "--introduction", s.Introduction(s.intro, "bob")}},
		{"an introduction that is not there", exitFailed, "FORK", []string{"--repo", bare, "--introduction", strings.Repeat("1", 40) + "@" + s.Fingerprint("alice")}},
		{"a trusted commit that is not there", exitUsage, "no commit", []string{"--repo", bare, "--introduction", intro, "--trusted", strings.Repeat("1", 40)}},
		{"an unknown flag", exitUsage, "frob", []string{"--repo", bare, "--frob"}},
	} {
		code, out := s.cli(append([]string{"verify", "--host", "x", "--json"}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d %s; want %d with %s", c.say, code, out, c.code, c.want)
		}
	}
	// The variables of a hook, or of somebody else, do not lead to another repository.
	for _, name := range elsewhere {
		t.Setenv(name, other)
		if v := s.verify("--host", "x"); v.Name != "DEPLOY" {
			t.Errorf("with %s: %s %s", name, v.Name, v.Reason)
		}
		os.Unsetenv(name)
	}
	s.Git("tag", "-a", "-m", "v1", "v1")
	write(t, filepath.Join(s.Dir, ".git", "refs", "heads", "tagged"), s.Git("rev-parse", "v1")+"\n")
	if v := s.verify("--branch", "tagged"); v.Name != "MALFORMED" || !strings.Contains(v.Reason, "leads to a tag") {
		t.Errorf("a branch that is a tag: %s %s", v.Name, v.Reason)
	}
	for _, state := range []string{"", "[]", `{"trusted":{"commit":"x"}}`, `{"ancestors":["x"],"more":1}`} {
		file := filepath.Join(t.TempDir(), "state")
		write(t, file, state)
		if code, out := s.cli("verify", "--repo", s.Dir, "--introduction", intro, "--state", file); code != exitUsage || !strings.Contains(out, file) {
			t.Errorf("state %q: exit %d %s", state, code, out)
		}
	}
	// One bit in an object on disk.
	id := s.Head()
	obj := filepath.Join(s.Dir, ".git", "objects", id[:2], id[2:])
	os.Chmod(obj, 0o644)
	raw, err := os.ReadFile(obj)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(obj, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if v := s.verify(); v.Name != "MALFORMED" {
		t.Errorf("a damaged tip: %s %s", v.Name, v.Reason)
	}
}

// The recovery key resets alone, whatever became of the signers, and nothing else
// of it counts.
func TestCorpusRecovery(t *testing.T) {
	s := newTeam(t)
	pub, err := os.ReadFile(s.Key("rescue") + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.Join(strings.Fields(string(pub))[:2], " ")
	check := func(say, want string, trusted string) {
		t.Helper()
		if v := s.verify("--host", "prod-1", "--recovery-key", key, "--trusted", trusted); string(v.Name) != want {
			t.Errorf("%s: %s %s, want %s", say, v.Name, v.Reason, want)
		}
	}
	s.Commit("rescue", "no reset")
	check("an ordinary commit", "UNKNOWN-KEY", s.base)
	// With all keys lost nobody rewrites history: the list and the reset go on top.
	s.back()
	s.signers(s.Signer("erin"))
	s.Git("rm", "-q", ".pullnode/policy")
	unsigned := s.Commit("", "a new list")
	check("a list by nobody", "UNSIGNED", s.base)
	reset := s.Commit("rescue", "Reset\n\nPullnode-Reset: 3")
	check("the reset on top", "DEPLOY", s.base)
	if v := s.verify("--host", "prod-1", "--trusted", s.base); v.Name != "UNSIGNED" || string(v.Commit) != unsigned {
		t.Errorf("a reset on top by a key that is no recovery key: %s by %s", v.Name, v.Commit)
	}
	state := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct{ at, want string }{{s.base, "DEPLOY"}, {reset, "DEPLOY"}, {s.base, "ROLLBACK"}, {unsigned, "ROLLBACK"}, {reset, "UP-TO-DATE"}} {
		if v := s.verify("--host", "prod-1", "--recovery-key", key, "--state", state, c.at); string(v.Name) != c.want {
			t.Errorf("%s: %s %s, want %s", c.at, v.Name, v.Reason, c.want)
		}
	}
	s.Write("a", "1")
	if v := s.verify("--host", "prod-1", "--recovery-key", key, "--state", state, s.Commit("erin", "goes on")); v.Name != "DEPLOY" {
		t.Errorf("the new key after the reset: %s %s", v.Name, v.Reason)
	}

	s.Git("checkout", "-q", "-B", "main", s.intro)
	s.signers(s.Signer("erin"))
	s.Git("rm", "-q", ".pullnode/policy")
	s.Commit("", "a new list, by nobody who counts")
	at := s.Commit("rescue", "Reset\n\nPullnode-Reset: 5")
	check("the reset", "DEPLOY", s.base)
	if v := s.verify("--host", "prod-1", "--trusted", s.base); v.Name != "FORK" {
		t.Errorf("without the recovery key: %s", v.Name)
	}
	raw := gitrig.Payload(s.Raw(at))
	s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw+"x", "rescue", "git")))
	check("a reset with a bad signature", "FORK", s.base)
}

package sync_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// node plays the agent's part of the rule: it remembers T and its ancestors.
type node struct {
	t         *testing.T
	r         *gitrig.Repo
	policy    sync.Policy
	ancestors map[sync.ID]bool
	request   uint64
}

func newNode(t *testing.T, r *gitrig.Repo, intro, key string) *node {
	t.Helper()
	i, err := sync.ParseIntroduction(r.Introduction(intro, key))
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, r: r, policy: sync.Policy{Introduction: i}}
}

func (n *node) want() sync.Want {
	n.request++
	w := sync.Want{Format: sync.StreamFormat, Request: n.request, Branch: "main", Trusted: string(n.policy.Introduction.Commit), Ancestry: n.ancestors == nil}
	if t := n.policy.Trusted; t != nil {
		w.Trusted = string(t.Commit)
		for _, p := range t.Parents {
			w.TrustedParents = append(w.TrustedParents, string(p))
		}
	}
	return w
}

func (n *node) read(want sync.Want, stream []byte) (*sync.Stream, error) {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.t.TempDir(), "copy"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { f.Close() })
	return sync.StreamReader{Want: want, Spool: f}.Read(bytes.NewReader(stream))
}

func (n *node) judge(tip string) (sync.Verified, sync.Verdict) {
	n.t.Helper()
	want := n.want()
	s, err := n.read(want, n.r.Stream(want, tip))
	if err != nil {
		v, ok := sync.StreamVerdict(err)
		if !ok {
			n.t.Fatal(err)
		}
		return sync.Verified{}, v
	}
	return n.policy.Judge(s)
}

// accept judges, wants the tip accepted and moves T.
func (n *node) accept(tip string) sync.Verified {
	n.t.Helper()
	v, verdict := n.judge(tip)
	if verdict.Refused() {
		n.t.Fatalf("refused: %s %s", verdict.Name, verdict.Reason)
	}
	if n.ancestors == nil {
		n.ancestors = map[sync.ID]bool{}
		n.policy.Ancestors = func(id sync.ID) bool { return n.ancestors[id] }
	}
	for _, id := range v.NewAncestors() {
		n.ancestors[id] = true
	}
	t := v.Trusted()
	n.policy.Trusted = &t
	return v
}

func (n *node) refuse(tip string, want sync.VerdictName, say string) {
	n.t.Helper()
	_, v := n.judge(tip)
	if v.Name != want || !strings.Contains(v.Reason, say) {
		n.t.Errorf("got %s %q, want %s with %q", v.Name, v.Reason, want, say)
	}
}

func start(t *testing.T) (*gitrig.Repo, *node) {
	r := gitrig.New(t)
	r.Write("README", "old history, from before pullnode\n")
	r.Commit("", "unsigned start")
	r.Signers("alice", "bob")
	r.Write("flake.nix", "{ }\n")
	intro := r.Commit("alice", "pullnode: introduce")
	return r, newNode(t, r, intro, "alice")
}

func TestGenuineHistory(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head()) // the introduction itself
	r.Write("a", "1")
	n.accept(r.Commit("bob", "bob's change"))
	r.Signers("alice", "carol") // bob leaves, carol comes
	n.accept(r.Commit("alice", "rotate"))
	r.Write("a", "2")
	n.accept(r.Commit("carol", "carol's change"))
	n.refuse(r.Commit("bob", "bob is gone"), sync.UnknownKey, "does not trust")
	r.Git("reset", "-q", "--hard", "HEAD~1")
	r.Git("checkout", "-q", "-b", "side")
	r.Write("b", "side")
	r.Commit("carol", "on a side branch")
	r.Git("checkout", "-q", "main")
	r.Write("c", "main")
	r.Commit("alice", "on main")
	n.accept(r.Merge("alice", "side"))
	n.accept(r.Commit("alice", "an empty one"))
	if _, v := n.judge(r.Head()); v.Name != sync.UpToDate {
		t.Errorf("same tip: %s", v.Name)
	}
}

func TestSkippingOldCommits(t *testing.T) {
	r, n := start(t)
	r.Signers("alice")
	r.Commit("alice", "bob leaves")
	for range 5 {
		r.Commit("alice", "more")
	}
	n.accept(r.Head()) // first run, introduction far below
}

func TestHostileHistory(t *testing.T) {
	r, n := start(t)
	base := r.Commit("alice", "base")
	n.accept(base)
	back := func() { r.Git("checkout", "-q", "-B", "main", base); r.Git("clean", "-qfd") }

	n.refuse(r.Commit("", "unsigned"), sync.Unsigned, "is not signed")
	n.refuse(r.Commit("alice", "signed on top of it"), sync.Unsigned, "unsigned") // comin's fault 1
	back()
	n.refuse(r.Commit("mallory", "stranger"), sync.UnknownKey, "does not trust")
	back()
	r.Signers("mallory")
	n.refuse(r.Commit("mallory", "adds itself"), sync.UnknownKey, "does not trust")
	back()
	n.refuse(r.Git("rev-parse", base+"~1"), sync.Rollback, "rewound")
	r.Git("checkout", "-q", "-B", "main", base+"~1")
	n.refuse(r.Commit("alice", "fork"), sync.Fork, "does not descend")
	back()
	r.Git("checkout", "-q", "-B", "side", base)
	r.Write("x", "x")
	r.Commit("", "unsigned on the side")
	back()
	n.refuse(r.Merge("alice", "side"), sync.Unsigned, "not signed")
	back()
	r.Git("checkout", "-q", "--orphan", "other")
	r.Commit("alice", "another root")
	back()
	n.refuse(r.Merge("alice", "other", "--allow-unrelated-histories", "-X", "ours"), sync.Fork, "no history in common")
	back()
	r.Git("rm", "-rq", ".pullnode")
	n.refuse(r.Commit("alice", "no policy"), sync.PolicyBad, "allowed_signers")
	back()
	r.Write(".pullnode/allowed_signers", "*@example.org "+strings.SplitN(r.Signer("alice"), " ", 2)[1])
	n.refuse(r.Commit("alice", "pattern"), sync.PolicyBad, "patterns")
	back()
	// After all of that the genuine next commit is still accepted: no refusal
	// moved anything (comin's fault 3).
	r.Write("fix", "fix")
	n.accept(r.Commit("alice", "fix"))
}

// A twin is the same signed payload under another id. It must neither be taken
// for a fork nor wedge the node.
func TestTwinDoesNotWedge(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head())
	r.Key("ec", "-t", "ecdsa")
	r.Signers("alice", "ec")
	signed := r.Commit("alice", "add ec")
	n.accept(signed)
	raw := r.Git("cat-file", "commit", signed)
	at := strings.Index(raw, "-----BEGIN SSH SIGNATURE-----\n ") + 41
	r.RawCommit(raw[:at] + "\n " + raw[at:] + "\n") // re-armored by anybody
	twin := r.Head()
	if _, v := n.judge(twin); twin == signed || v.Name != sync.UpToDate {
		t.Errorf("twin %s of %s: %s %s", twin, signed, v.Name, v.Reason)
	}
	n.accept(r.Commit("ec", "somebody goes on from the twin"))
	r.Git("reset", "-q", "--hard", signed)
	n.refuse(r.Commit("ec", "the genuine line is behind now"), sync.Fork, "")
}

func TestWrongIntroduction(t *testing.T) {
	r, n := start(t)
	n.policy.Introduction.Fingerprint = r.Fingerprint("bob")
	n.refuse(r.Head(), sync.UnknownKey, "the settings say")
}

func TestRevokedByTheNode(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head())
	n.policy.Revoked = []string{r.Fingerprint("bob")}
	n.refuse(r.Commit("bob", "stolen"), sync.UnknownKey, "revokedKeys")
}

func TestHostileStream(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head())
	r.Write("dir/secret", "content\n")
	tip := r.Commit("alice", "next")
	want := n.want()
	good := r.Stream(want, tip)
	if _, err := n.read(want, good); err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"empty":       nil,
		"blob swap":   gitrig.Tamper(good, "content\n", "kontent\n"),
		"truncated":   good[:len(good)-20],
		"no tree":     good[:bytes.LastIndex(good, []byte(" tree "))-40],
		"extra":       append(bytes.Clone(good), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 blob 0\n\n"...),
		"twice":       append(bytes.Clone(good), good[bytes.LastIndex(good, []byte("content"))-48:]...),
		"other tip":   gitrig.Tamper(good, tip+"\n", strings.Repeat("a", 40)+"\n"),
		"old request": gitrig.Tamper(good, "pullnode-stream 1 2", "pullnode-stream 1 1"),
		"format":      gitrig.Tamper(good, "pullnode-stream 1", "pullnode-stream 9"),
		"huge size":   gitrig.Tamper(good, " commit ", " commit 9"),
	}
	for name, raw := range cases {
		s, err := n.read(want, raw)
		if err == nil {
			if _, v := n.policy.Judge(s); !v.Refused() {
				t.Errorf("%s: accepted", name)
			}
		}
	}
}

func TestExport(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head())
	r.Write("dir/file", "content\n")
	r.Git("config", "core.symlinks", "true")
	os.Symlink("dir/file", filepath.Join(r.Dir, "link"))
	os.Chmod(filepath.Join(r.Dir, "flake.nix"), 0o755)
	v := n.accept(r.Commit("alice", "files"))
	dir := filepath.Join(t.TempDir(), "source")
	if err := v.Export(dir, sync.Limits{}); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "link")); string(b) != "content\n" {
		t.Errorf("link reads %q", b)
	}
	if i, _ := os.Stat(filepath.Join(dir, "flake.nix")); i.Mode().Perm() != 0o755 {
		t.Errorf("flake.nix has mode %v", i.Mode())
	}
	for target, say := range map[string]string{"/etc/shadow": "relative", "../out": "out of the tree", "dir/../../x": "out of the tree"} {
		os.Remove(filepath.Join(r.Dir, "link"))
		os.Symlink(target, filepath.Join(r.Dir, "link"))
		n.refuse(r.Commit("alice", "bad link"), sync.Malformed, say)
	}
	if err := (sync.Verified{}).Export(t.TempDir(), sync.Limits{}); err == nil {
		t.Error("the zero Verified was exported")
	}
}

package main

import (
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

func TestCorpusWhoseCommit(t *testing.T) {
	s := newSite(t)
	s.Key("rsa", "-t", "rsa", "-b", "3072")
	s.Key("weak", "-t", "rsa", "-b", "1024")
	s.Key("p521", "-t", "ecdsa", "-b", "521")
	s.run([]attack{
		{"A1 unsigned tip", "UNSIGNED", "", func(s *site) string { return s.Commit("", "unsigned") }},
		{"A2 a stranger's key", "UNKNOWN-KEY", "", func(s *site) string { return s.Commit("mallory", "hello") }},
		{"A4 fork from before the introduction", "FORK", "", func(s *site) string {
			s.Git("checkout", "-q", "-B", "main", s.intro+"~1")
			s.Signers("alice")
			return s.Commit("alice", "fork")
		}},
		{"A3 rewound below the introduction", "ROLLBACK FORK", "", func(s *site) string {
			s.Git("reset", "-q", "--hard", s.intro+"~1")
			return s.Head()
		}},
		{"A6 a commit of another repository", "FORK", "", func(s *site) string {
			s.Git("checkout", "-q", "--orphan", "elsewhere")
			id := s.Commit("alice", "my other project")
			s.Git("update-ref", "refs/heads/main", id)
			return id
		}},
		{"A7 graft", "FORK", "", func(s *site) string {
			s.Git("checkout", "-q", "--orphan", "other")
			graft := s.Commit("alice", "another root")
			s.back()
			s.Merge("alice", "other", "--allow-unrelated-histories", "-X", "ours")
			return graft
		}},
		{"A8 laundering", "UNSIGNED", "", func(s *site) string {
			s.Write("backdoor", "x")
			id := s.Commit("", "by the server")
			s.Write("a", "on top")
			s.Commit("alice", "pulled and went on")
			return id
		}},
		{"A8 laundering by a stranger's key", "UNKNOWN-KEY", "", func(s *site) string {
			id := s.Commit("mallory", "by the server")
			s.Commit("alice", "on top")
			return id
		}},
		{"A9 merge of an unsigned branch", "UNSIGNED", "", func(s *site) string {
			s.Git("checkout", "-q", "-B", "pr")
			s.Write("pr", "1")
			id := s.Commit("", "please merge")
			s.back()
			s.Merge("alice", "pr")
			return id
		}},
		{"A10 adds itself", "UNKNOWN-KEY", "", func(s *site) string {
			s.Signers("alice", "bob", "mallory")
			id := s.Commit("mallory", "me too")
			s.Commit("mallory", "and on")
			return id
		}},
		{"A13 the policy is gone", "POLICY", "", func(s *site) string {
			s.Git("rm", "-rq", ".pullnode")
			return s.Commit("alice", "no policy")
		}},
		{"A14 the policy is a link", "POLICY", "", func(s *site) string {
			s.Write("elsewhere", s.Signer("alice"))
			s.link("../elsewhere", ".pullnode/allowed_signers")
			return s.Commit("alice", "link")
		}},
		{"A14 the policy's directory is a link", "POLICY", "", func(s *site) string {
			s.Write("real/allowed_signers", s.Signer("alice"))
			s.Git("rm", "-rq", ".pullnode")
			s.link("real", ".pullnode")
			return s.Commit("alice", "link")
		}},
		{"A14 the policy is huge", "POLICY LIMIT", "", func(s *site) string {
			s.signers(s.Signer("alice"), "# "+strings.Repeat("x", 70<<10)+"\n")
			return s.Commit("alice", "huge")
		}},
		{"A14 the policy is a submodule", "POLICY MALFORMED", "", func(s *site) string {
			s.Git("rm", "-rq", ".pullnode")
			s.Git("update-index", "--add", "--cacheinfo", "160000,"+s.intro+",.pullnode")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice"), "commit", "-qS", "-m", "submodule")
			return s.Head()
		}},
		{"A15 locks everybody out", "POLICY", "", func(s *site) string {
			s.signers("# nobody\n")
			return s.Commit("alice", "typo")
		}},
		{"A18 a removed key goes on signing", "UNKNOWN-KEY", "", func(s *site) string {
			s.Signers("alice")
			s.Commit("alice", "bob leaves")
			return s.Commit("bob", "still here")
		}},
		{"A18 a removed key signs what is merged later", "UNKNOWN-KEY", "", func(s *site) string {
			s.Git("checkout", "-q", "-B", "side")
			s.Write("side", "1")
			id := s.Commit("bob", "before the removal")
			s.back()
			s.Signers("alice")
			s.Commit("alice", "bob leaves")
			s.Merge("alice", "side")
			return id
		}},
		{"A20 a removed key where the removal was never seen", "DEPLOY", "", func(s *site) string {
			return s.Commit("bob", "the removal is withheld by the server")
		}},
		{"A21 expiry dates", "POLICY", "", func(s *site) string {
			s.signers(s.Signer("alice"), strings.Replace(s.Signer("bob"), ` namespaces="git"`, ` valid-before="20210101"`, 1))
			return s.Commit("alice", "dates")
		}},
		{"A22 certificate authority", "POLICY", "", func(s *site) string {
			s.signers(s.Signer("alice"), strings.Replace(s.Signer("bob"), ` namespaces="git"`, ` cert-authority`, 1))
			return s.Commit("alice", "ca")
		}},
		{"A22 a signature by a certificate", "MALFORMED UNKNOWN-KEY", "", func(s *site) string {
			s.Key("ca")
			s.tool("", "ssh-keygen", "-q", "-s", s.Key("ca"), "-I", "x", "-n", "bob", "-V", "20200101:20300101", s.Key("bob")+".pub")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("bob")+"-cert.pub", "commit", "-qS", "--allow-empty", "-m", "by certificate")
			return s.Head()
		}},
		{"A24 a signature for files", "MALFORMED", "", func(s *site) string {
			raw := gitrig.Payload(s.Raw(s.Commit("alice", "x")))
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "file")))
		}},
		{"A25 two signatures", "MALFORMED", "", func(s *site) string {
			raw := s.Raw(s.Commit("alice", "x"))
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(gitrig.Payload(raw), "bob", "git")))
		}},
		{"A26 two trees", "MALFORMED", "", func(s *site) string {
			raw := "tree " + s.Git("rev-parse", s.intro+"^{tree}") + "\n" + gitrig.Payload(s.Raw(s.Commit("alice", "x")))
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
		}},
		{"A26 a late parent", "MALFORMED", "", func(s *site) string {
			raw := strings.Replace(gitrig.Payload(s.Raw(s.Commit("alice", "x"))), "\n\n", "\nparent "+s.intro+"\n\n", 1)
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
		}},
		{"A26 two trees, below a good tip", "MALFORMED", "", func(s *site) string {
			raw := "tree " + s.Git("rev-parse", s.intro+"^{tree}") + "\n" + gitrig.Payload(s.Raw(s.Commit("alice", "x")))
			id := s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
			s.Git("update-ref", "refs/heads/main", s.CommitTree("alice", s.Git("rev-parse", s.base+"^{tree}"), id))
			return id
		}},
		{"A27 NUL", "MALFORMED", "", func(s *site) string {
			raw := gitrig.Payload(s.Raw(s.Commit("alice", "x"))) + "\x00evil\n"
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
		}},
		{"A32 a short RSA key is listed", "POLICY", "", func(s *site) string {
			s.signers(s.Signer("alice"), s.Signer("weak"))
			return s.Commit("alice", "weak")
		}},
		{"A32 a curve that is not accepted is listed", "POLICY", "", func(s *site) string {
			s.signers(s.Signer("alice"), s.Signer("p521"))
			return s.Commit("alice", "p521")
		}},
		{"A32 a short RSA key signs", "MALFORMED UNKNOWN-KEY", "", func(s *site) string { return s.Commit("weak", "x") }},
		{"A34 a bad signature in the name of a listed key", "MALFORMED", "", func(s *site) string {
			raw := gitrig.Payload(s.Raw(s.Commit("alice", "x")))
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw+"other", "alice", "git")))
		}},
		{"A34 the author's name", "UNKNOWN-KEY", "", func(s *site) string {
			return s.Commit("mallory", "x", "--author", "alice <alice@example.org>")
		}},
		{"A35 a tag named like the branch", "DEPLOY", "", func(s *site) string {
			evil := s.Commit("", "evil")
			s.back()
			s.Git("tag", "-f", "main", evil)
			s.t.Cleanup(func() { s.tool("", "git", "tag", "-d", "main") })
			return s.base
		}},
		{"A44 a group of lines with one name", "POLICY", "", func(s *site) string {
			s.signers(s.Signer("alice"), strings.Replace(s.Signer("alice"), "alice", "alias", 1))
			return s.Commit("alice", "one key, two people")
		}},
	})
}

package main

import (
	"strings"
	"testing"
)

func TestCorpusTeam(t *testing.T) {
	s := newTeam(t)
	s.run([]attack{
		{"A11 a developer adds a key", "PENDING", "dev-1", func(s *site) string {
			s.signers(s.Signer("alice"), s.Signer("bob"), s.Signer("carol"), s.Signer("dave"), s.Signer("bot"), s.Signer("mallory"))
			return s.Commit("carol", "my friend")
		}},
		{"A11 the added key signs", "UNKNOWN-KEY", "dev-1", func(s *site) string {
			s.signers(s.Signer("alice"), s.Signer("bob"), s.Signer("carol"), s.Signer("dave"), s.Signer("bot"), s.Signer("mallory"))
			s.Commit("carol", "my friend")
			return s.Commit("mallory", "hello")
		}},
		{"A12 one signature lowers the threshold", "PENDING", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", strings.ReplaceAll(s.Git("show", "HEAD:.pullnode/policy"), "need 2", "need 1")+"\n")
			return s.Commit("alice", "easier")
		}},
		{"A12 not by a second signature of the same person", "PENDING", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", strings.ReplaceAll(s.Git("show", "HEAD:.pullnode/policy"), "need 2", "need 1")+"\n")
			s.Commit("alice", "easier")
			return s.Commit("alice", "easier still")
		}},
		{"A12 two signatures do", "DEPLOY", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", strings.ReplaceAll(s.Git("show", "HEAD:.pullnode/policy"), "need 2", "need 1")+"\n")
			s.Commit("alice", "easier")
			return s.Commit("bob", "agreed")
		}},
		{"A12 the new threshold does not count before it is in force", "PENDING", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", strings.ReplaceAll(s.Git("show", "HEAD:.pullnode/policy"), "need 2", "need 1")+"\n")
			s.Commit("alice", "easier")
			s.Write("a", "sneaked in after")
			return s.Commit("alice", "relies on it")
		}},
		{"A15 more needed than there are", "POLICY", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", strings.Replace(s.Git("show", "HEAD:.pullnode/policy"), "admin ops need 2", "admin ops need 4", 1)+"\n")
			s.Commit("alice", "typo")
			return s.Commit("bob", "typo agreed")
		}},
		{"A16 one person twice", "PENDING", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("alice", "change")
			return s.Commit("alice", "approve myself")
		}},
		{"A16 one person with two keys", "PENDING", "prod-1", func(s *site) string {
			s.Key("alice2")
			s.signers(s.Git("show", "HEAD:.pullnode/allowed_signers")+"\n", strings.Replace(s.Signer("alice2"), "alice2", "alice", 1))
			s.Commit("alice", "my second device")
			s.Commit("bob", "agreed")
			s.Write("a", "1")
			s.Commit("alice", "change")
			return s.Commit("alice2", "approve from the other device")
		}},
		{"A16 two people do", "DEPLOY", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("alice", "change")
			return s.Commit("bob", "approve")
		}},
		{"A17 the approval changes the tree", "PENDING", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("alice", "change")
			s.Write("a", "2")
			return s.Commit("bob", "approve, and one more thing")
		}},
		{"A17 an approval of a tree that was there before", "PENDING", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("alice", "change")
			s.Write("a", "2")
			s.Commit("bob", "another")
			s.Write("a", "1")
			return s.Commit("carol", "back to the first")
		}},
		{"A30 a developer's tip on production", "PENDING", "prod-1", func(s *site) string {
			s.Write("a", "1")
			return s.Commit("carol", "change")
		}},
		{"A30 a developer's tip on his host", "DEPLOY", "dev-1", func(s *site) string {
			s.Write("a", "1")
			return s.Commit("carol", "change")
		}},
		{"A30 production with a developer's tip approved by one", "PENDING", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("carol", "change")
			return s.Commit("alice", "approve")
		}},
		{"A30 and by two", "DEPLOY", "prod-1", func(s *site) string {
			s.Write("a", "1")
			s.Commit("carol", "change")
			s.Commit("alice", "approve")
			return s.Commit("bob", "approve")
		}},
		{"A37 a bot on staging", "DEPLOY", "stage-1", func(s *site) string {
			s.Write("flake.lock", "{}")
			return s.Commit("bot", "bump")
		}},
		{"A37 a bot on production", "PENDING", "prod-1", func(s *site) string {
			s.Write("flake.lock", "{}")
			return s.Commit("bot", "bump")
		}},
		{"A37 a bot elsewhere", "PENDING", "dev-1", func(s *site) string {
			s.Write("flake.lock", "{}")
			return s.Commit("bot", "bump")
		}},
		{"A37 a host that no rule names", "POLICY NO-SUCH-HOST", "x", func(s *site) string {
			s.Write(".pullnode/policy", strings.Replace(s.Git("show", "HEAD:.pullnode/policy"), "deploy * dev", "deploy dev-* dev", 1)+"\n")
			s.Commit("alice", "narrow")
			s.Commit("bob", "agreed")
			s.Write("a", "1")
			return s.Commit("carol", "change")
		}},
		{"A36 an unknown word", "POLICY", "prod-1", func(s *site) string {
			s.Write(".pullnode/policy", s.Git("show", "HEAD:.pullnode/policy")+"\nintent prod-*\n")
			s.Commit("alice", "later")
			return s.Commit("bob", "agreed")
		}},
		{"A13 the team file is gone by one signature", "PENDING", "prod-1", func(s *site) string {
			s.Git("rm", "-q", ".pullnode/policy")
			return s.Commit("alice", "no more quorum")
		}},
		{"A38 a policy change hidden in a merged branch", "PENDING", "prod-1", func(s *site) string {
			s.Git("checkout", "-q", "-B", "side")
			s.Git("rm", "-q", ".pullnode/policy")
			s.Commit("carol", "no more quorum")
			s.back()
			return s.Merge("carol", "side")
		}},
	})
}

func TestCorpusEndorse(t *testing.T) {
	s := newSite(t)
	branch := func(s *site, commits ...string) string {
		s.Git("checkout", "-q", "-B", "pr")
		for _, c := range commits {
			s.Write("pr", c)
			s.Commit("", c)
		}
		id := s.Head()
		s.back()
		return id
	}
	merge := func(s *site, trailer string) string {
		s.Git("merge", "-q", "--no-ff", "--no-commit", "pr")
		return s.Commit("alice", "merge pr\n\n"+trailer)
	}
	s.run([]attack{
		{"A9 endorsed by full id", "DEPLOY", "", func(s *site) string {
			return merge(s, "Pullnode-Endorse: "+branch(s, "one", "two"))
		}},
		{"A9 changed after review", "UNSIGNED", "", func(s *site) string {
			reviewed := branch(s, "one")
			s.Git("checkout", "-q", "pr")
			s.Write("pr", "evil")
			evil := s.Commit("", "force pushed since")
			s.back()
			merge(s, "Pullnode-Endorse: "+reviewed)
			return evil
		}},
		{"A9 a short id", "UNSIGNED", "", func(s *site) string {
			id := branch(s, "one")
			merge(s, "Pullnode-Endorse: "+id[:12])
			return id
		}},
		{"A9 a name instead of an id", "UNSIGNED", "", func(s *site) string {
			id := branch(s, "one")
			merge(s, "Pullnode-Endorse: pr")
			return id
		}},
		{"A9 in the text instead of a trailer", "UNSIGNED", "", func(s *site) string {
			id := branch(s, "one")
			merge(s, "Somebody wrote\nPullnode-Endorse: "+id+"\n\nand more text.")
			return id
		}},
		{"A9 quoted in the last paragraph", "UNSIGNED", "", func(s *site) string {
			id := branch(s, "one")
			merge(s, "Somebody wrote\nPullnode-Endorse: "+id+"\nand I refused.")
			return id
		}},
		{"A9 endorsed by an unsigned commit", "UNSIGNED", "", func(s *site) string {
			id := branch(s, "one")
			s.Git("merge", "-q", "--no-ff", "--no-commit", "pr")
			s.Commit("", "merge\n\nPullnode-Endorse: "+id)
			s.Commit("alice", "on top")
			return id
		}},
		{"A9 endorsed by a stranger", "UNSIGNED UNKNOWN-KEY", "", func(s *site) string {
			id := branch(s, "one")
			s.Git("merge", "-q", "--no-ff", "--no-commit", "pr")
			s.Commit("mallory", "merge\n\nPullnode-Endorse: "+id)
			return ""
		}},
		{"A9 endorsed in a merged branch only", "UNSIGNED", "", func(s *site) string {
			s.Write("a", "slipped in")
			id := s.Commit("", "unsigned on the line")
			s.Git("checkout", "-q", "-B", "pr")
			s.Write("pr", "1")
			s.Commit("bob", "vouch\n\nPullnode-Endorse: "+id)
			s.Git("checkout", "-q", "main")
			s.Merge("alice", "pr")
			return id
		}},
		{"A8 unsigned below, endorsed later", "DEPLOY", "", func(s *site) string {
			s.Write("a", "1")
			id := s.Commit("", "forgot to sign")
			return s.Commit("alice", "vouch\n\nPullnode-Endorse: "+id)
		}},
		{"A8 an unsigned tip is not its own endorsement", "UNSIGNED", "", func(s *site) string {
			s.Write("a", "1")
			return s.Commit("", "x\n\nPullnode-Endorse: "+s.Head())
		}},
	})
}

package main

import (
	"fmt"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

func TestCorpusTrees(t *testing.T) {
	s := newSite(t)
	take := func(s *site, id string) string {
		s.Git("update-ref", "refs/heads/main", id)
		return id
	}
	blob := s.Object("blob", "content\n")
	entry := func(mode, name, id string) string {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s\x00", mode, name)
		for i := 0; i < 40; i += 2 {
			var x byte
			fmt.Sscanf(id[i:i+2], "%02x", &x)
			b.WriteByte(x)
		}
		return b.String()
	}
	// root is HEAD's tree with more entries in front, in git's order.
	root := func(s *site, more string) string {
		dir := s.Git("rev-parse", "HEAD:.pullnode")
		return s.Object("tree", more+entry("40000", ".pullnode", dir))
	}
	hostile := func(mode, name string) func(*site) string {
		return func(s *site) string {
			id := blob
			if mode == "40000" {
				id = s.Object("tree", entry("100644", "config", blob))
			}
			return take(s, s.CommitTree("alice", root(s, entry(mode, name, id)), s.Head()))
		}
	}
	// bomb is a tree of width entries, depth deep, each naming the next.
	bomb := func(s *site, width, depth int) string {
		kind, id := "100644", blob
		for range depth {
			var b strings.Builder
			for i := range width {
				b.WriteString(entry(kind, fmt.Sprintf("%03d", i), id))
			}
			kind, id = "40000", s.Object("tree", b.String())
		}
		return take(s, s.Tree("alice", "040000 tree "+id+"\tbomb"))
	}
	s.run([]attack{
		{"C5 a huge commit", "LIMIT MALFORMED", "", func(s *site) string {
			raw := gitrig.Payload(s.Raw(s.Commit("alice", "x"))) + strings.Repeat("x", 100<<10)
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
		}},
		{"C6 many parents", "LIMIT MALFORMED", "", func(s *site) string {
			args := []string{s.Head()}
			for range 17 {
				args = append(args, s.CommitTree("alice", s.Git("rev-parse", "HEAD^{tree}"), s.base))
			}
			return take(s, s.CommitTree("alice", s.Git("rev-parse", "HEAD^{tree}"), args...))
		}},
		{"C8 a bomb of trees", "LIMIT", "", func(s *site) string { return bomb(s, 100, 8) }},
		{"C8 a deep tree", "LIMIT", "", func(s *site) string { return bomb(s, 1, 200) }},
		{"D1 dot dot", "MALFORMED", "", hostile("40000", "..")},
		{"D1 dot", "MALFORMED", "", hostile("40000", ".")},
		{"D1 backslash", "MALFORMED", "", func(s *site) string { return take(s, s.Tree("alice", "100644 blob "+blob+"\tz\\x")) }},
		{"D1 a slash in a name", "MALFORMED", "", hostile("100644", "../x")},
		{"D1 an empty name", "MALFORMED", "", hostile("100644", "")},
		{"D2 git's directory", "MALFORMED", "", hostile("40000", ".git")},
		{"D2 in capitals", "MALFORMED", "", hostile("40000", ".GIT")},
		{"D2 as HFS+ reads it", "MALFORMED", "", hostile("40000", ".g\u200cit")},
		{"D2 as NTFS reads it", "MALFORMED", "", func(s *site) string { return take(s, s.Tree("alice", "100644 blob "+blob+"\tgit~1")) }},
		{"D3 a link and a directory of one name", "MALFORMED", "", func(s *site) string {
			dir := s.Git("rev-parse", "HEAD:.pullnode")
			sub := s.Object("tree", entry("100644", "x", blob))
			return take(s, s.CommitTree("alice", s.Object("tree", entry("40000", ".pullnode", dir)+entry("120000", "z", blob)+entry("40000", "z", sub)), s.Head()))
		}},
		{"D3 a file twice", "MALFORMED", "", func(s *site) string {
			return take(s, s.CommitTree("alice", root(s, entry("100644", ".a", blob)+entry("100644", ".a", blob)), s.Head()))
		}},
		{"D3 out of order", "MALFORMED", "", func(s *site) string {
			return take(s, s.CommitTree("alice", root(s, entry("100644", "z", blob)), s.Head()))
		}},
		{"D4 a link to an absolute path", "MALFORMED", "", func(s *site) string { s.link("/etc/shadow", "x"); return s.Commit("alice", "link") }},
		{"D4 a link out", "MALFORMED", "", func(s *site) string { s.link("../../run/secrets", "x"); return s.Commit("alice", "link") }},
		{"D4 a link out by way of a directory", "MALFORMED", "", func(s *site) string {
			s.link("d/../../etc", "e/x")
			return s.Commit("alice", "link")
		}},
		{"D4 a link inside", "DEPLOY", "", func(s *site) string { s.link("../a", "e/x"); return s.Commit("alice", "link") }},
		{"D5 a submodule", "MALFORMED", "", func(s *site) string { return take(s, s.Tree("alice", "160000 commit "+s.intro+"\tsub")) }},
		{"D6 an LFS pointer", "MALFORMED", "", func(s *site) string {
			s.Write("big", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
			return s.Commit("alice", "lfs")
		}},
		{"D6 attributes mean nothing", "DEPLOY", "", func(s *site) string {
			s.Write(".gitattributes", "* filter=x ident eol=crlf export-subst\n")
			return s.Commit("alice", "attributes")
		}},
		{"D9 a strange mode", "MALFORMED", "", hostile("104755", ".a")},
		{"D9 the mode of old gits", "DEPLOY", "", hostile("100664", ".a")},
		{"C10 an object is missing", "MALFORMED", "", func(s *site) string {
			return take(s, s.Tree("alice", "100644 blob "+strings.Repeat("12", 20)+"\tgone"))
		}},
		{"C10 a parent is missing", "MALFORMED FORK", "", func(s *site) string {
			raw := strings.Replace(gitrig.Payload(s.Raw(s.Commit("alice", "x"))), "parent "+s.base, "parent "+strings.Repeat("12", 20), 1)
			return s.RawCommit(gitrig.WithSignature(raw, s.Armor(raw, "alice", "git")))
		}},
	})
}

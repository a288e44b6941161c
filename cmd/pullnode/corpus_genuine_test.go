package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

// What operators do every day is accepted from the introduction on and from where
// a node was before, and stock git agrees about each signature.
func TestCorpusGenuine(t *testing.T) {
	for name, build := range map[string]func(*site){
		"linear": func(s *site) {
			for i := range 5 {
				s.Write("a", fmt.Sprint(i))
				s.Commit("alice", "change")
			}
		},
		"empty commits": func(s *site) { s.Commit("alice", "1"); s.Commit("bob", "2") },
		"key rotation": func(s *site) {
			s.Signers("alice2", "bob")
			s.Commit("alice", "new key")
			s.Commit("alice2", "proves it")
		},
		"a signer comes and goes": func(s *site) {
			s.Signers("alice", "bob", "carol")
			s.Commit("bob", "carol comes")
			s.Write("c", "1")
			s.Commit("carol", "work")
			s.Signers("alice", "bob")
			s.Commit("alice", "carol goes")
		},
		"merge": func(s *site) {
			s.Git("checkout", "-q", "-B", "side")
			s.Write("side", "1")
			s.Commit("bob", "side")
			s.Git("checkout", "-q", "main")
			s.Write("a", "1")
			s.Commit("alice", "main")
			s.Merge("alice", "side")
		},
		"merge of a branch forked before the introduction": func(s *site) {
			s.Git("checkout", "-q", "-B", "side", s.intro+"~1")
			s.Write("side", "1")
			s.Commit("bob", "side")
			s.Git("checkout", "-q", "main")
			s.Merge("alice", "side")
		},
		"octopus": func(s *site) {
			for _, b := range []string{"one", "two"} {
				s.Git("checkout", "-q", "-B", b, s.base)
				s.Write(b, "1")
				s.Commit("bob", b)
			}
			s.Git("checkout", "-q", "main")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice"), "merge", "-q", "--no-ff", "-S", "-m", "both", "one", "two")
		},
		"squash": func(s *site) {
			s.Git("checkout", "-q", "-B", "side")
			s.Write("side", "1")
			s.Commit("", "never signed, never in the history")
			s.Git("checkout", "-q", "main")
			s.Git("merge", "-q", "--squash", "side")
			s.Commit("alice", "squashed")
		},
		"cherry-pick": func(s *site) {
			s.Git("checkout", "-q", "-B", "side")
			s.Write("side", "1")
			s.Commit("", "elsewhere")
			s.Git("checkout", "-q", "main")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice"), "-c", "commit.gpgsign=true", "cherry-pick", "side")
		},
		"revert": func(s *site) {
			s.Write("a", "bad")
			s.Commit("alice", "bad")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("bob"), "-c", "commit.gpgsign=true", "revert", "--no-edit", "HEAD")
		},
		"names and text of all kinds": func(s *site) {
			s.Commit("alice", "Ünïcode — ok\n\n\nbody\n\tindented\n", "--author", "Jürgen O'Neil \"x\" <j@example.org>")
			s.Git("-c", "i18n.commitEncoding=ISO-8859-1", "-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice"), "commit", "-qS", "--allow-empty", "-m", "latin")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice"), "commit", "-qS", "--allow-empty", "--allow-empty-message", "-m", "")
		},
		"a merged signed tag": func(s *site) {
			s.Git("checkout", "-q", "-B", "side")
			s.Write("side", "1")
			s.Commit("bob", "side")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("bob"), "tag", "-s", "-f", "-m", "v1", "v1")
			s.Git("checkout", "-q", "main")
			s.Merge("alice", "v1")
		},
		"other key types": func(s *site) {
			s.Key("r", "-t", "rsa", "-b", "3072")
			s.Key("p256", "-t", "ecdsa", "-b", "256")
			s.Key("p384", "-t", "ecdsa", "-b", "384")
			s.Signers("alice", "bob", "r", "p256", "p384")
			s.Commit("alice", "all kinds")
			for _, k := range []string{"r", "p256", "p384"} {
				s.Commit(k, "by "+k)
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			s := newSite(t)
			build(s)
			for _, from := range [][]string{nil, {"--trusted", s.base}} {
				if v := s.verify(append(from, "--host", "x")...); v.Name != "DEPLOY" || string(v.Commit) != s.Head() {
					t.Errorf("%v: %s %s: %s", from, v.Name, v.Commit.Short(), v.Reason)
				}
			}
			if v := s.verify("--host", "x", "--trusted", s.Head()); v.Name != "UP-TO-DATE" {
				t.Errorf("again: %s %s", v.Name, v.Reason)
			}
			s.gitAgrees()
		})
	}
}

// gitAgrees asks stock git about every commit that is signed, with the signers of
// all times.
func (s *site) gitAgrees() {
	s.t.Helper()
	all := map[string]bool{}
	for _, id := range strings.Fields(s.Git("rev-list", "--first-parent", s.intro+"..HEAD")) {
		for _, l := range strings.Split(s.Git("show", id+":.pullnode/allowed_signers"), "\n") {
			all[l] = true
		}
	}
	var lines []string
	for l := range all {
		lines = append(lines, l)
	}
	file := filepath.Join(s.t.TempDir(), "signers")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	for _, id := range strings.Fields(s.Git("rev-list", s.intro+"..HEAD")) {
		cmd := exec.Command("git", "-c", "gpg.ssh.allowedSignersFile="+file, "verify-commit", id)
		cmd.Dir = s.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Errorf("git does not accept %s: %s", id, out)
		}
	}
}

// OpenPGP and SSH side by side.
func TestCorpusOpenPGP(t *testing.T) {
	s := newSite(t)
	g := s.GPG()
	gina, gerd := g.Key("gina", "ed25519"), g.Key("gerd", "rsa3072")
	s.signers(s.Signer("alice"), "gina openpgp4fpr:"+gina+"\n", "gerd openpgp4fpr:"+gerd+"\n")
	s.Write(".pullnode/keys/gina.asc", g.Cert("gina"))
	s.Write(".pullnode/keys/gerd.asc", g.Cert("gerd"))
	s.base = s.Commit("alice", "gina and gerd come")
	s.run([]attack{
		{"ed25519 and rsa", "DEPLOY", "", func(s *site) string {
			s.Write("a", "1")
			g.On(s.Repo).Commit(gina, "by gina")
			s.Write("a", "2")
			s.Commit("alice", "by alice")
			return g.On(s.Repo).Commit(gerd, "by gerd")
		}},
		{"a certificate that nobody listed", "UNKNOWN-KEY", "", func(s *site) string {
			other := g.On(s.Repo)
			return other.Commit(other.Key("mallory", "ed25519"), "hello")
		}},
		{"a certificate beside the list adds nobody", "UNKNOWN-KEY", "", func(s *site) string {
			other := g.On(s.Repo)
			key := other.Key("eve", "ed25519")
			s.Write(".pullnode/keys/eve.asc", other.Cert("eve"))
			s.Commit("alice", "a certificate only")
			return other.Commit(key, "hello")
		}},
		{"listed without its certificate", "POLICY", "", func(s *site) string {
			s.Git("rm", "-q", ".pullnode/keys/gina.asc")
			return s.Commit("alice", "forgot")
		}},
		{"another's certificate under the name", "POLICY", "", func(s *site) string {
			other := g.On(s.Repo)
			other.Key("fake", "ed25519")
			s.Write(".pullnode/keys/gina.asc", other.Cert("fake"))
			return s.Commit("alice", "swapped")
		}},
		{"a signature over other bytes", "MALFORMED", "", func(s *site) string {
			raw := s.Raw(g.On(s.Repo).Commit(gina, "genuine"))
			return s.RawCommit(strings.Replace(raw, "\n\ngenuine", "\n\nchanged", 1))
		}},
		{"two armors", "MALFORMED", "", func(s *site) string {
			raw := s.Raw(g.On(s.Repo).Commit(gina, "genuine"))
			at := strings.Index(raw, "-----BEGIN")
			sig := strings.ReplaceAll(raw[at:strings.Index(raw, "-----END PGP SIGNATURE-----")], "\n ", "\n") + "-----END PGP SIGNATURE-----\n"
			return s.RawCommit(gitrig.WithSignature(gitrig.Payload(raw), sig+sig))
		}},
		{"rotation away", "UNKNOWN-KEY", "", func(s *site) string {
			s.signers(s.Signer("alice"))
			s.Commit("alice", "gpg keys go")
			return g.On(s.Repo).Commit(gina, "still here")
		}},
	})
}

package main

import (
	"bytes"
	"compress/zlib"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/gitrig"
)

// Where stock git says that a signature is good and pullnode refuses. Each of
// these is in docs/trust.md.
func TestStricterThanGit(t *testing.T) {
	s := newSite(t)
	s.Key("rsa", "-t", "rsa", "-b", "2048")
	s.Key("p521", "-t", "ecdsa", "-b", "521")
	key := func(who, as, options string) string { // a line for the file of signers
		return strings.Replace(strings.Replace(s.Signer(who), who, as, 1), `namespaces="git" `, options, 1)
	}
	sign := func(s *site, lines ...string) string {
		s.signers(append(lines, s.Signer("bob"))...)
		return s.Commit("alice", "a list that git reads")
	}
	again := func(s *site, f func(payload, sig string) string) string {
		raw := s.Raw(s.Commit("alice", "genuine"))
		at := strings.Index(raw, "-----BEGIN")
		sig := strings.ReplaceAll(raw[at:strings.Index(raw, "-----END SSH SIGNATURE-----")], "\n ", "\n") + "-----END SSH SIGNATURE-----\n"
		return s.RawCommit(f(gitrig.Payload(raw), sig))
	}
	for name, c := range map[string]struct {
		want  string
		build func(s *site) string
	}{
		"a pattern":        {"POLICY", func(s *site) string { return sign(s, key("alice", "*", "")) }},
		"a list of names":  {"POLICY", func(s *site) string { return sign(s, key("alice", "alice,ally", "")) }},
		"other namespaces": {"POLICY", func(s *site) string { return sign(s, key("alice", "alice", `namespaces="git,file" `)) }},
		"a time that is over": {"POLICY", func(s *site) string {
			raw := strings.Split(gitrig.Payload(s.Raw(sign(s, key("alice", "alice", `valid-before="20210101" `)))), "\n")
			for i, l := range raw {
				if strings.HasPrefix(l, "committer ") {
					raw[i] = "committer A <a@example.org> 1577836800 +0000" // 2020; whoever signs writes what he likes
				}
			}
			back := strings.Join(raw, "\n")
			return s.RawCommit(gitrig.WithSignature(back, s.Armor(back, "alice", "git")))
		}},
		"a certificate authority": {"MALFORMED", func(s *site) string {
			s.tool("", "ssh-keygen", "-q", "-s", s.Key("ca"), "-I", "x", "-n", "alice", s.Key("alice")+".pub")
			s.signers(key("ca", "alice", "cert-authority "), s.Signer("bob"))
			s.Git("add", "-A")
			s.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+s.Key("alice")+"-cert.pub", "commit", "-qS", "-m", "by certificate")
			return s.Head()
		}},
		"one key of two people": {"POLICY", func(s *site) string { return sign(s, s.Signer("alice"), key("alice", "ally", "")) }},
		"a short rsa key":       {"POLICY", func(s *site) string { return sign(s, s.Signer("alice"), s.Signer("rsa")) }},
		"another curve":         {"POLICY", func(s *site) string { return sign(s, s.Signer("alice"), s.Signer("p521")) }},
		"the armor in other lines": {"MALFORMED", func(s *site) string {
			return again(s, func(payload, sig string) string {
				lines := strings.Split(sig, "\n")
				lines[1] = lines[1][:10] + "\n" + lines[1][10:]
				return gitrig.WithSignature(payload, strings.Join(lines, "\n"))
			})
		}},
		"text after the armor": {"MALFORMED", func(s *site) string {
			return again(s, func(payload, sig string) string { return gitrig.WithSignature(payload, sig+"junk\n") })
		}},
		"a header that only looks like a signature": {"MALFORMED", func(s *site) string {
			return again(s, func(payload, sig string) string {
				return strings.Replace(gitrig.WithSignature(payload, sig), "\n\n", "\ngpgsig-sha256 junk\n\n", 1)
			})
		}},
		"signed, with an unsigned commit below": {"UNSIGNED", func(s *site) string {
			s.Commit("", "by the server")
			return s.Commit("alice", "on top")
		}},
		"signed, in a repository of its own": {"FORK", func(s *site) string {
			s.Git("checkout", "-q", "--orphan", "elsewhere")
			id := s.Commit("alice", "my other project")
			s.Git("branch", "-q", "-M", "elsewhere", "main")
			return id
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			s.t, s.Repo = t, s.On(t)
			s.back()
			id := c.build(s)
			file := filepath.Join(t.TempDir(), "signers")
			write(t, file, s.Git("show", id+":.pullnode/allowed_signers")+"\n")
			git := exec.Command("git", "-c", "gpg.ssh.allowedSignersFile="+file, "verify-commit", id)
			git.Dir = s.Dir
			if out, err := git.CombinedOutput(); err != nil {
				t.Errorf("git does not accept it either: %s", out)
			}
			if v := s.verify("--host", "x"); string(v.Name) != c.want || string(v.Tip) != id {
				t.Errorf("%s %s: %s, want %s", v.Name, v.Commit.Short(), v.Reason, c.want)
			}
		})
	}
}

// loose writes an object as git stores it.
func (s *site) loose(kind, body string) string {
	s.t.Helper()
	raw := fmt.Sprintf("%s %d\x00%s", kind, len(body), body)
	sum := sha1.Sum([]byte(raw))
	id := hex.EncodeToString(sum[:])
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(raw))
	z.Close()
	dir := filepath.Join(s.Dir, ".git", "objects", id[:2])
	os.MkdirAll(dir, 0o755)
	if err := os.WriteFile(filepath.Join(dir, id[2:]), b.Bytes(), 0o444); err != nil {
		s.t.Fatal(err)
	}
	return id
}

// Ten thousand signed commits, by the command that people use, and ten more.
func TestCorpusTenThousand(t *testing.T) {
	s := newSite(t)
	raw, err := os.ReadFile(s.Key("alice"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(payload string) string {
		hash := sha512.Sum512([]byte(payload))
		sig, err := key.Sign(rand.Reader, append([]byte("SSHSIG"), ssh.Marshal(struct {
			Namespace, Reserved, Hash string
			Digest                    []byte
		}{"git", "", "sha512", hash[:]})...))
		if err != nil {
			t.Fatal(err)
		}
		blob := append([]byte("SSHSIG\x00\x00\x00\x01"), ssh.Marshal(struct {
			Key                       []byte
			Namespace, Reserved, Hash string
			Sig                       []byte
		}{key.PublicKey().Marshal(), "git", "", "sha512", ssh.Marshal(sig)})...)
		return armorLines(blob)
	}
	at, made := s.base, 0
	trees := []string{s.Git("rev-parse", s.base+"^{tree}"), s.Git("rev-parse", s.intro+"^{tree}")}
	more := func(n int) {
		for range n {
			made++
			payload := fmt.Sprintf("tree %s\nparent %s\nauthor A <a@example.org> %d +0000\ncommitter A <a@example.org> %d +0000\n\nchange %d\n",
				trees[made%2], at, 1700000000+made, 1700000000+made, made)
			at = s.loose("commit", gitrig.WithSignature(payload, sign(payload)))
		}
		s.Git("update-ref", "refs/heads/main", at)
	}
	state := filepath.Join(t.TempDir(), "state")
	more(10_000)
	s.Git("repack", "-adq")
	for _, want := range []string{"DEPLOY", "UP-TO-DATE", "DEPLOY"} {
		if v := s.verify("--host", "x", "--state", state); string(v.Name) != want || string(v.Commit) != at {
			t.Fatalf("%s %s: %s, want %s", v.Name, v.Commit.Short(), v.Reason, want)
		}
		if want == "UP-TO-DATE" {
			more(10)
		}
	}
	s.Git("reset", "-q", "--hard", at+"~9000")
	if v := s.verify("--host", "x", "--state", state); v.Name != "ROLLBACK" {
		t.Errorf("rewound by 9,000: %s %s", v.Name, v.Reason)
	}
}

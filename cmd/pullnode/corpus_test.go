package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// site is a real repository that is judged by the command that people and CI use.
// The names of cases are those of the attacks: A whose commit is it, C resources,
// D paths.
type site struct {
	*gitrig.Repo
	t     *testing.T
	intro string
	key   string // that signed the introduction
	base  string // what every case starts from
}

// newSite has one file of signers, alice and bob, on top of older unsigned work.
func newSite(t *testing.T) *site {
	r := gitrig.New(t)
	r.Write("README", "from before\n")
	r.Commit("", "unsigned start")
	r.Signers("alice", "bob")
	r.Write("flake.nix", "{ }\n")
	s := &site{Repo: r, t: t, intro: r.Commit("alice", "introduce"), key: "alice"}
	r.Write("a", "base")
	s.base = r.Commit("bob", "base")
	return s
}

// newTeam needs two of three for production, one developer for staging, two
// admins for the policy.
func newTeam(t *testing.T) *site {
	r := gitrig.New(t)
	r.Signers("alice", "bob", "carol", "dave", "bot")
	r.Write(".pullnode/policy", `# who may do what
group ops alice bob dave
group dev carol @ops
group bots bot
admin ops need 2
deploy prod-* ops need 2
deploy stage-* bots dev
deploy * dev
`)
	s := &site{Repo: r, t: t, intro: r.Commit("alice", "introduce"), key: "alice"}
	r.Write("a", "base")
	r.Commit("bob", "base")
	s.base = r.Commit("alice", "approve")
	return s
}

// back puts work tree and branch to where every case starts.
func (s *site) back() {
	s.Git("symbolic-ref", "HEAD", "refs/heads/main")
	s.Git("reset", "-q", "--hard", s.base)
	s.Git("clean", "-qfdx")
}

// verify runs the command and makes sure that its exit status fits its verdict.
func (s *site) verify(extra ...string) sync.Verdict {
	s.t.Helper()
	args := append([]string{"verify", "--repo", s.Dir, "--introduction", s.Introduction(s.intro, s.key), "--json"}, extra...)
	var out, errs bytes.Buffer
	code := run(args, &out, &errs)
	var v sync.Verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		s.t.Fatalf("no verdict, exit %d: %s%s", code, out.String(), errs.String())
	}
	want := exitFailed
	switch v.Name {
	case sync.Deploy, sync.UpToDate:
		want = exitOK
	case "PENDING", "STALE":
		want = exitNotWell
	}
	if code != want || v.Tip == "" || v.Trusted == "" || v.Commit == "" || (want != exitOK && v.Reason == "") {
		s.t.Errorf("exit %d with %+v", code, v)
	}
	return v
}

// attack is one case: what build makes is judged for host, prod-1 if none is
// named, and must get one of the verdicts of want, by the commit it gives, if any.
type attack struct {
	name  string
	want  string
	host  string
	build func(*site) (at string)
}

func (s *site) run(cases []attack) {
	all := s.t
	for _, c := range cases {
		all.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			s.t, s.Repo = t, s.On(t)
			s.back()
			at := c.build(s)
			host := c.host
			if host == "" {
				host = "prod-1"
			}
			v := s.verify("--host", host)
			if !strings.Contains(" "+c.want+" ", " "+string(v.Name)+" ") || at != "" && string(v.Commit) != at {
				t.Errorf("got %s by %s: %s; want %s by %s", v.Name, v.Commit.Short(), v.Reason, c.want, at)
			}
		})
	}
}

// tool runs a program in the work tree.
func (s *site) tool(stdin, name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdin = s.Dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out))
}

// link puts a symbolic link into the work tree.
func (s *site) link(target, at string) {
	s.t.Helper()
	os.MkdirAll(filepath.Join(s.Dir, filepath.Dir(at)), 0o755)
	os.Remove(filepath.Join(s.Dir, at))
	if err := os.Symlink(target, filepath.Join(s.Dir, at)); err != nil {
		s.t.Fatal(err)
	}
}

// signers writes the file by lines.
func (s *site) signers(lines ...string) {
	s.Write(".pullnode/allowed_signers", strings.Join(lines, ""))
}

// cli runs a command and gives its exit status and all that it said.
func (s *site) cli(args ...string) (int, string) {
	var out bytes.Buffer
	code := run(args, &out, &out)
	return code, out.String()
}

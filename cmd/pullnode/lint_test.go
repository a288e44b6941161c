package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pullnode/sync"
)

// Each thing that lint looks for is found where it is, and a sound repository is
// left in peace.
func TestLint(t *testing.T) {
	r, call := operatorRepo(t)
	lint := func(exit int, want ...string) {
		t.Helper()
		said := call(exit, "lint")
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("want %q in\n%s", w, said)
			}
		}
		if n := strings.Count(said, "✗"); n != len(want) && exit != exitOK {
			t.Errorf("%d findings, want %d:\n%s", n, len(want), said)
		}
	}
	lint(exitFailed, "locks everybody out")
	call(exitOK, "lint", "--recovery-key")
	two := r.Signer("alice") + strings.Replace(r.Signer("second"), "second ", "alice ", 1)
	r.Write(sync.SignersPath, two)
	r.Write("flake.nix", "{ }\n")
	base := r.Commit("alice", "two keys")
	lint(exitOK)
	with := func(key string, files map[string]string, want ...string) {
		t.Helper()
		r.Git("reset", "-q", "--hard", base)
		for path, text := range files {
			r.Write(path, text)
		}
		r.Commit(key, "a fault")
		lint(exitFailed, want...)
	}
	bot := two + r.Signer("updater")
	with("alice", map[string]string{sync.SignersPath: bot}, "root on every host", "may deploy to * alone")
	with("alice", map[string]string{sync.SignersPath: bot, sync.RulesPath: "group ops alice\nadmin ops\ndeploy prod-* ops updater\ndeploy stage-* updater\n"}, "may deploy to prod-* alone")
	with("alice", map[string]string{sync.SignersPath: two + r.Signer("robin"), sync.RulesPath: "group bots robin\nadmin alice bots\ndeploy prod alice\n"}, "robin seems to be a bot")
	with("alice", map[string]string{sync.RulesPath: "admin alice need 2\n"}, "only 1 of alice can sign")
	with("alice", map[string]string{sync.RulesPath: "admin alice alcie\ndeploy * alice\n"}, `"alcie" in .pullnode/policy is neither`)
	with("alice", map[string]string{"flake.lock": `{"root":"root","nodes":{"root":{},"x":{"locked":{"type":"github"}}}}`}, "no narHash")
	with("alice", map[string]string{"secrets/db.yaml": "password: hunter2\n"}, "secrets/db.yaml")
	key := "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n" + strings.Repeat("AAAA", 16) + "\n"
	with("alice", map[string]string{"id": key}, "id:1: holds a private key", "id in commit")
	r.Git("rm", "-q", "id")
	r.Commit("alice", "take it out")
	lint(exitFailed, "id in commit") // history keeps it
	for _, args := range [][]string{{"lint", "nope"}, {"lint", "a", "b"}} {
		call(exitUsage, args...)
	}
}

// The shell of the workflows that build parses; the commands of nix in it were not
// run.
func TestBuildWorkflowsOfTheTemplate(t *testing.T) {
	for _, forge := range []string{".github", ".forgejo"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "templates", "default", forge, "workflows", "build.yml"))
		if err != nil {
			t.Fatal(err)
		}
		scripts := regexp.MustCompile(`(?m)^        run: \|\n((?: {10}.*\n)+)`).FindAllStringSubmatch(string(raw), -1)
		if len(scripts) != 2 {
			t.Fatalf("%s: %d scripts", forge, len(scripts))
		}
		for _, s := range scripts {
			cmd := exec.Command("bash", "-n")
			cmd.Stdin = strings.NewReader(s[1])
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", forge, err, out)
			}
		}
		// What a pull request built is never signed.
		if _, last, _ := strings.Cut(string(raw), "- name: push to the cache"); !strings.Contains(last, "if: github.event_name == 'push'") {
			t.Errorf("%s signs also for pull requests", forge)
		}
	}
}

// The workflows of the template call commands that there are, with flags that
// they know. No forge runs them here.
func TestWorkflowsOfTheTemplate(t *testing.T) {
	line := regexp.MustCompile(`pullnode -- (\w+)([^|\n]*)`)
	for _, forge := range []string{".github", ".forgejo"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "templates", "default", forge, "workflows", "pullnode.yml"))
		if err != nil {
			t.Fatal(err)
		}
		calls := line.FindAllStringSubmatch(string(raw), -1)
		if len(calls) != 2 {
			t.Errorf("%s calls pullnode %d times", forge, len(calls))
		}
		for _, c := range calls {
			cmd := commands()[c[1]]
			if cmd == nil {
				t.Fatalf("%s calls pullnode %s", forge, c[1])
			}
			fs := flag.NewFlagSet(c[1], flag.ContinueOnError)
			cmd.flags(fs)
			for _, word := range strings.Fields(c[2]) {
				if name, ok := strings.CutPrefix(word, "--"); ok && fs.Lookup(name) == nil {
					t.Errorf("%s: pullnode %s has no --%s", forge, c[1], name)
				}
			}
		}
	}
}

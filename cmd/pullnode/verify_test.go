package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/sync"
)

// What a script or a hook sees of a verdict: exit status and JSON.
func TestVerifyCommand(t *testing.T) {
	r, call := operatorRepo(t)
	intro := r.Introduction(r.Head(), "alice")
	r.Git("config", "--unset", "pullnode.introduction")
	r.Signers("alice", "bob")
	r.Write(sync.RulesPath, "group ops alice bob\nadmin ops\ndeploy prod ops need 2\ndeploy * ops\n")
	tip := r.Commit("alice", "rules")
	state := filepath.Join(t.TempDir(), "state")
	verify := func(exit int, verdict string, args ...string) (v struct{ Verdict, Tip, Trusted, Commit, Reason string }) {
		t.Helper()
		out := call(exit, append([]string{"verify", "--introduction", intro, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		for _, k := range []string{"verdict", "tip", "trusted", "commit", "reason"} {
			if !strings.Contains(out, `"`+k+`":`) {
				t.Errorf("%v: no %s in %s", args, k, out)
			}
		}
		if v.Verdict != verdict || v.Verdict != "DEPLOY" && v.Verdict != "UP-TO-DATE" && v.Reason == "" {
			t.Errorf("%v: %+v, want %s", args, v, verdict)
		}
		return v
	}
	verify(exitOK, "DEPLOY", "--host", "prod") // judged by the rules before it
	verify(exitOK, "DEPLOY", "--host", "web", "--state", state)
	verify(exitOK, "UP-TO-DATE", "--host", "web", "--state", state)
	verify(exitOK, "UP-TO-DATE", "--host", "web", "--trusted", tip)
	r.Write("a", "1")
	second := r.Commit("bob", "a change")
	if v := verify(exitNotWell, "PENDING", "--host", "prod"); v.Commit != second || v.Tip != second {
		t.Errorf("%+v", v)
	}
	verify(exitNotWell, "PENDING", "--host", "prod", "--trusted", tip)
	verify(exitOK, "DEPLOY", "--host", "web", "--trusted", tip)
	verify(exitOK, "DEPLOY", "--host", "web", "--state", state)
	if v := verify(exitFailed, "ROLLBACK", "--host", "web", "--state", state, tip); v.Trusted != second {
		t.Errorf("%+v", v)
	}
	bad := r.Commit("", "unsigned")
	r.Commit("alice", "signed on top")
	if v := verify(exitFailed, "UNSIGNED", "--host", "web", "--state", state); v.Commit != bad {
		t.Errorf("at fault is %s, want %s", v.Commit, bad)
	}
	if v := verify(exitFailed, "UNSIGNED", "--host", "web", "--trusted", bad); v.Commit != bad || v.Tip == bad || !strings.Contains(v.Reason, "--trusted") {
		t.Errorf("no node ever accepted %s: %+v", bad, v)
	}
	r.Git("reset", "-q", "--hard", second)
	verify(exitOK, "UP-TO-DATE", "--host", "web", "--state", state) // a refusal moved nothing

	for _, args := range [][]string{{}, {"--introduction", "x"}, {"--introduction", intro, "--branch", "nope"}, {"--introduction", intro, "--trusted", "nope"},
		{"--introduction", intro, "--trusted", tip, "--state", state}, {"--introduction", intro, "a", "b"}, {"--introduction", intro, "--recovery-key", "x"}} {
		call(exitUsage, append([]string{"verify"}, args...)...)
	}
	if out := call(exitNotWell, "verify", "--introduction", intro, "--host", "prod"); !strings.Contains(out, "1 of 2") || !strings.Contains(out, "pullnode approve") {
		t.Error(out)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pullnode/internal/agent"
	"pullnode/internal/state"
)

var (
	goldenNow = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	one       = agent.Commit{ID: "4f2c9e16fd807b096b48283debdcddccfea34bad", Subject: "nginx: enable HTTP/3", Signer: "alice", When: goldenNow.Add(-2 * time.Hour)}
	two       = agent.Commit{ID: "9b1d0443c5b5fb6f3b0c92b5d3d35a1b4a3d5b11", Subject: "postgres: 17 to 18", Signer: "bob", When: goldenNow.Add(-11 * time.Minute)}
)

// goldenStatus is a node that is well.
func goldenStatus() agent.Status {
	return agent.Status{Host: "web01", Operation: "switch", Pid: 812, Started: goldenNow.Add(-72 * time.Hour), Written: goldenNow.Add(-40 * time.Second),
		Sync: "in-sync", Health: "healthy", Branch: "main", Remote: "origin", Protocol: "v2", Polled: goldenNow.Add(-40 * time.Second),
		Next: goldenNow.Add(41 * time.Second), Running: &one, Toplevel: "/nix/store/8vj4k1l6c0xqz7q1y6n2w3b5d9f0g4h1-nixos-system-web01", Gen: 142, Verdict: "UP-TO-DATE"}
}

// Every state of the two axes, as people see it.
func TestStatusGolden(t *testing.T) {
	wanted := func(s *agent.Status) { s.Wanted, s.Verdict = &two, "DEPLOY" }
	cases := map[string]func(*agent.Status){
		"in-sync": func(*agent.Status) {},
		"starting": func(s *agent.Status) {
			*s = agent.Status{Host: s.Host, Operation: s.Operation, Pid: s.Pid, Started: goldenNow.Add(-2 * time.Second), Branch: "main", Sync: "starting", Health: "unknown"}
		},
		"building": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Phase, s.Next = "behind", "building postgres: 17 to 18", time.Time{}
		},
		"behind": func(s *agent.Status) { wanted(s); s.Sync, s.Why = "behind", []string{"put back: no remote answered"} },
		"checking": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Health, s.Phase, s.Next = "behind", "checking", "checking", time.Time{}
		},
		"refused": func(s *agent.Status) {
			s.Wanted, s.Sync, s.Verdict = &agent.Commit{ID: two.ID, Subject: two.Subject}, "refused", "UNSIGNED"
			s.Why = []string{`commit 9b1d044 ("postgres: 17 to 18") by bob <bob@example.org> is not signed`}
			s.Hint = "sign it: git commit --amend --no-edit -S && git push --force-with-lease"
		},
		"failed": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Why = "failed", []string{"the build of postgresql-18.1.drv failed\nconfigure: error: readline library not found"}
			s.Hint = "nix log /nix/store/xyz-postgresql-18.1.drv"
		},
		"reverted": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Health, s.Why = "held", "reverted", []string{"unit postgresql.service has failed\ncheck web failed: get http://127.0.0.1: status 502, want 200-299"}
		},
		"stuck": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Health, s.Why = "held", "stuck", []string{"unit postgresql.service has failed; and /nix/store/x would not switch back (exit status 1)"}
		},
		"held": func(s *agent.Status) {
			s.Sync, s.Why = "held", []string{"rolled back to generation 141; waiting for a commit with another system"}
			s.Gen = 143
		},
		"suspended": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Why = "suspended", []string{"deploys nothing until 2026-05-04 14:00 UTC"}
		},
		"stopped-newer": func(s *agent.Status) {
			s.Sync, s.Health, s.Running, s.Gen, s.Next = "stopped", "unknown", nil, 0, time.Time{}
			s.Why, s.Hint = []string{"state was written by a newer pullnode: /var/lib/pullnode/state.json has schema 2, this one knows up to 1"}, "boot or switch to the newer system again"
		},
		"stopped-lost": func(s *agent.Status) {
			wanted(s)
			s.Sync, s.Health, s.Running, s.Gen = "stopped", "unknown", nil, 0
			s.Why = []string{"no state file can be read in /var/lib/pullnode or /nix/var/pullnode/floor.json", "this node no longer knows which commits it must not go back to, and deploys nothing"}
			s.Hint = "if 9b1d044 is the newest commit that you know: pullnode trust " + two.ID + " --reason TEXT"
		},
		"remote": func(s *agent.Status) {
			s.Failure = &state.Failure{Class: "auth", Text: "ask for the branch: the server answers 401 Unauthorized", Count: 4}
		},
		"alert": func(s *agent.Status) {
			s.Alerts = []string{"/var/lib/pullnode/state.json is damaged: checksum differs", "/var/lib/pullnode/state.json was moved to /var/lib/pullnode/state.json.broken.1"}
			s.Request = "rollback: the history has no generation to go back to"
		},
		"hostile-text": func(s *agent.Status) {
			s.Running = &agent.Commit{ID: one.ID, Subject: "\x1b[2Jgone \u202e sdrawkcab", Signer: "al\rice"}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		s := goldenStatus()
		cases[name](&s)
		var b bytes.Buffer
		printStatus(&b, s, goldenNow, true)
		if name == "in-sync" {
			b.WriteString("\n")
			printStatus(&b, s, goldenNow.Add(3*time.Hour), false) // the same, with the agent dead
		}
		fmt.Fprintf(&b, "well: %t\n", well(s))
		golden(t, "status/"+name, b.String())
	}
}

// What status --json prints is the file, and its exit status is the text's.
func TestStatusJSON(t *testing.T) {
	dir := t.TempDir()
	s := goldenStatus()
	s.Sync = "refused"
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(agent.StatusPath(dir), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if exit := run([]string{"status", "--json", "--run", dir}, &out, &errs); exit != exitNotWell || out.String() != string(raw) {
		t.Errorf("exit %d, %s%s", exit, out.String(), errs.String())
	}
	if err := os.WriteFile(agent.StatusPath(dir), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if exit := run([]string{"status", "--run", dir}, &out, &errs); exit != exitFailed {
		t.Errorf("a damaged status: exit %d", exit)
	}
}

func TestHistoryGolden(t *testing.T) {
	dir := t.TempDir()
	if got := typed("history", "--state", dir); !strings.Contains(got, "nothing was tried yet") {
		t.Error(got)
	}
	if got := typed("history", "--json", "--state", dir); !strings.Contains(got, "\n[]\n") {
		t.Error(got)
	}
	list := []state.Entry{
		{Time: goldenNow.Add(-72 * time.Hour), Commit: "1c07aa3" + strings.Repeat("0", 33), Subject: "nixpkgs: update", Signer: "alice", Generation: 141, Result: state.ResultKept, Took: 160 * time.Second, Toplevel: "/nix/store/a-nixos-system-web01"},
		{Time: goldenNow.Add(-30 * time.Hour), Commit: "c07be21" + strings.Repeat("0", 33), Subject: "tmp", Result: state.ResultRefused, Why: "UNSIGNED: commit c07be21 (\"tmp\") is not signed"},
		{Time: goldenNow.Add(-29 * time.Hour), Commit: "1c07aa3" + strings.Repeat("0", 33), Result: state.ResultTrusted, Why: "the disk was damaged"},
		{Time: goldenNow.Add(-2 * time.Hour), Commit: one.ID, Subject: one.Subject, Signer: "alice", Generation: 142, Result: state.ResultKept, Took: 72 * time.Second, Toplevel: "/nix/store/b-nixos-system-web01"},
		{Time: goldenNow.Add(-11 * time.Minute), Commit: two.ID, Subject: two.Subject, Signer: "bob", Result: state.ResultReverted, Took: 271 * time.Second, Toplevel: "/nix/store/c-nixos-system-web01", Why: "unit postgresql.service has failed\ncheck web failed: status 502"},
		{Time: goldenNow.Add(-time.Minute), Commit: "77aa001" + strings.Repeat("0", 33), Subject: "README", Signer: "bob", Generation: 142, Result: state.ResultUnchanged, Toplevel: "/nix/store/b-nixos-system-web01"},
	}
	var file bytes.Buffer
	for _, e := range list {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(append(raw, '\n'))
	}
	if err := os.WriteFile(filepath.Join(dir, "history.jsonl"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	var b bytes.Buffer
	printHistory(&b, list, len(list), goldenNow)
	b.WriteString("\n")
	printHistory(&b, list[:2], len(list), goldenNow)
	golden(t, "history/list", b.String())
	scrub := func(s string) string { return strings.ReplaceAll(s, dir, "DIR") }
	golden(t, "history/one", scrub(typed("history", "9b1d", "--state", dir)+typed("history", "1c07", "--state", dir)+typed("history", "beef", "--state", dir)))
	golden(t, "history/json", scrub(typed("history", "--json", "-n", "2", "--state", dir)))
}

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestKeyNewRefuses(t *testing.T) {
	o := newKeyOps(t)
	was := o.read(".sops.yaml")
	dir := t.TempDir()
	for say, args := range map[string][]string{
		"is in the repository":          {"web03", "--out", filepath.Join(o.Dir, "x.age"), "--with", "recovery"},
		"is in the Nix store":           {"web03", "--out", "/nix/store/x.age", "--with", "recovery"},
		"is no host name":               {"Web 3", "--out", dir},
		"has a key already: age1":       {"web01", "--out", dir},
		"that of sshd":                  {"web03", "--out", dir, "--for", "ssh-host-key"},
		"is no source":                  {"web03", "--out", dir, "--for", "floppy"},
		"say with --out":                {"web03"},
		"has no such anchor":            {"web03", "--out", dir, "--with", "nobody"},
		".sops.yaml has no rule for it": {"web03", "--out", dir, "--with", "recovery", "--also", "other.yaml"},
		"no rule for hosts/web03":       {"web03", "--out", dir},
	} {
		if say == "that of sshd" {
			say = "that of the host's sshd"
		}
		if out := typed(append([]string{"key", "new", "--repo", o.Dir}, args...)...); !strings.Contains(out, say) || strings.Contains(out, "exit status 0") {
			t.Errorf("want %q in\n%s", say, out)
		}
	}
	// A rule for all hosts would give the new one everybody's secrets.
	o.Write(".sops.yaml", strings.Replace(was, "^hosts/web01/ ", "^hosts/ ", 1))
	if out := typed("key", "new", "web03", "--out", dir, "--repo", o.Dir); !strings.Contains(out, "is that of hosts/web01/secrets.yaml too, which web03 would open") {
		t.Error(out)
	}
	o.Write(".sops.yaml", was)
	t.Setenv("PATH", filepath.Dir(gitPath(t)))
	if _, err := os.Stat(filepath.Join(filepath.Dir(gitPath(t)), "sops")); err != nil {
		out := typed("key", "new", "web03", "--out", dir, "--with", "recovery", "--also", "secrets/shared.yaml", "--repo", o.Dir)
		for _, want := range []string{"sops is missing, and nothing was changed", "sops updatekeys -y secrets/shared.yaml"} {
			if !strings.Contains(out, want) {
				t.Errorf("want %q in\n%s", want, out)
			}
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 || o.read(".sops.yaml") != was {
		t.Errorf("something was made: %v\n%s", left, o.read(".sops.yaml"))
	}
}

// No file and no rule is left without anybody.
func TestKeyRevokeTheLast(t *testing.T) {
	o := newKeyOps(t)
	o.Write(".sops.yaml", "creation_rules:\n  - path_regex: ^hosts/web01/\n    age: "+o.key("web01")+" # web01\n  - age: "+o.key("operators")+"\n")
	was := o.read(".sops.yaml") + o.read("hosts/web01/secrets.yaml")
	if said := o.call(exitFailed, "key", "revoke", o.key("web01")); !strings.Contains(said, "line 2: the rule would be left without a recipient") {
		t.Error(said)
	}
	if o.read(".sops.yaml")+o.read("hosts/web01/secrets.yaml") != was {
		t.Error("something was changed")
	}
}

// What fails in the middle is completed by the same command.
func TestKeyCommandsGoOn(t *testing.T) {
	o := newKeyOps(t)
	sops := filepath.Join(t.TempDir(), "sops")
	if err := os.WriteFile(sops, []byte("#!/bin/sh\nfor last; do :; done\ncase \"$last\" in *$BREAKS) echo 'no key opens it' >&2; exit 128;; esac\nexec "+o.sops+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(sops)+":"+os.Getenv("PATH"))
	t.Setenv("BREAKS", "shared.yaml")
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		done func() bool
	}{
		{[]string{"key", "new", "web03", "--out", dir, "--with", "recovery,operators", "--also", "secrets/shared.yaml"}, func() bool {
			return o.opens(identityIn(t, filepath.Join(dir, "web03.age")), "secrets/shared.yaml")
		}},
		{[]string{"key", "rotate", "web01", "--new", "--out", dir}, func() bool {
			return o.opens(identityIn(t, filepath.Join(dir, "web01.age")), "secrets/shared.yaml")
		}},
		{[]string{"key", "rotate", "web01", "--finish"}, func() bool { return !o.opens(o.ids["web01"], "secrets/shared.yaml") }},
		{[]string{"key", "revoke", "web02"}, func() bool { return !o.opens(o.ids["web02"], "secrets/shared.yaml") }},
	} {
		t.Setenv("BREAKS", "shared.yaml")
		said := o.call(exitFailed, c.args...)
		if !strings.Contains(said, "secrets/shared.yaml") || !strings.Contains(said, "no key opens it") || !strings.Contains(said, "run the same command again") || c.done() {
			t.Errorf("%v: %s", c.args, said)
		}
		t.Setenv("BREAKS", "nothing")
		o.call(exitOK, c.args...)
		if !c.done() {
			t.Errorf("%v: not completed", c.args)
		}
	}
}

func TestKeyHelpGolden(t *testing.T) {
	got := ""
	for _, name := range slices.Sorted(maps.Keys(keyCommands())) {
		if verb, ok := strings.CutPrefix(name, "key "); ok {
			got += typed("key", verb, "--help") + "\n"
			if !strings.Contains(usage, "pullnode "+name) {
				t.Errorf("help does not name %s", name)
			}
		}
	}
	golden(t, "key/help", strings.TrimSuffix(got, "\n"))
}

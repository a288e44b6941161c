package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pullnode/sync"
)

// What git has to sign with, and what is wrong with it.
func TestInitSigningKey(t *testing.T) {
	for name, c := range map[string]struct {
		set func(o *operator)
		say []string
	}{
		"none":         {func(o *operator) { o.git("config", "--unset", "user.signingkey") }, []string{"git has no signing key", "hint: make one: ssh-keygen -t ed25519"}},
		"openpgp":      {func(o *operator) { o.git("config", "user.signingkey", "3AA5C34371567BD2") }, []string{`OpenPGP or X.509 key "3AA5C34371567BD2"; nodes take SSH signatures`, "hint: and name it"}},
		"gone":         {func(o *operator) { o.git("config", "user.signingkey", "~/none.pub") }, []string{`"~/none.pub" is no SSH key that can be read`}},
		"no key":       {func(o *operator) { write(o.t, filepath.Join(o.home, "id.pub"), "junk\n") }, []string{"git's signing key: ssh: no key found"}},
		"no private":   {func(o *operator) { os.Remove(filepath.Join(o.home, "id")) }, []string{"git commit: ", "hint: nothing was changed"}},
		"nobody":       {func(o *operator) { o.git("config", "--unset", "user.email") }, []string{"git does not know who you are"}},
		"short rsa":    {func(o *operator) { o.key("rsa", "-t", "rsa", "-b", "2048") }, []string{`the rsa key of "alice@example.org" has 2048 bits`}},
		"odd name":     {func(o *operator) { o.git("config", "user.email", "*@example.org") }, []string{"patterns and lists are not accepted"}},
		"hook says no": {func(o *operator) { o.hook("pre-commit", "echo not today >&2; exit 1") }, []string{"not today", "hint: nothing was changed"}},
		"in a merge": {func(o *operator) {
			o.commit("one")
			write(o.t, filepath.Join(o.repo, ".git", "MERGE_HEAD"), o.git("rev-parse", "HEAD")+"\n")
		}, []string{"partial commit during a merge", "hint: nothing was changed"}},
	} {
		o := newOperator(t)
		c.set(o)
		before := o.git("status", "--porcelain")
		recovery := filepath.Join(o.home, "recovery")
		out, exit := o.init("y\n" + recovery + "\n")
		if exit != exitFailed || !strings.HasPrefix(out[strings.Index(out, "pullnode: error"):], "pullnode: error: ") {
			t.Errorf("%s: exit %d\n%s", name, exit, out)
		}
		for _, say := range c.say {
			if !strings.Contains(out, say) {
				t.Errorf("%s: want %q in\n%s", name, say, out)
			}
		}
		// Nothing is left behind.
		if after := o.git("status", "--porcelain"); after != before {
			t.Errorf("%s: status %q, was %q", name, after, before)
		}
		for _, path := range []string{filepath.Join(o.repo, sync.PolicyDir), recovery} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s: %s is there", name, path)
			}
		}
		if v, err := o.command("git", "-C", o.repo, "config", "--get-regexp", "pullnode|gpgsign").Output(); err == nil {
			t.Errorf("%s: git config has %s", name, v)
		}
	}
}

func (o *operator) key(name string, opts ...string) {
	o.t.Helper()
	o.must("ssh-keygen", append([]string{"-q", "-N", "", "-f", filepath.Join(o.home, name)}, opts...)...)
	o.git("config", "user.signingkey", filepath.Join(o.home, name))
}

func (o *operator) hook(name, script string) {
	o.t.Helper()
	mustDo(o.t, os.WriteFile(filepath.Join(o.repo, ".git", "hooks", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

// A recovery key never lands in the repository nor over another file.
func TestInitRecoveryKey(t *testing.T) {
	o := newOperator(t)
	there := filepath.Join(o.home, "there")
	write(t, there, "precious")
	for file, say := range map[string]string{
		filepath.Join(o.repo, "recovery"): "is in the repository",
		there:                             "never written over another",
		"/nonexistent/dir/recovery":       "no such file",
	} {
		out, exit := o.init("y\n", "--recovery-key", file)
		if exit != exitFailed || !strings.Contains(out, say) {
			t.Errorf("%s: exit %d\n%s", file, exit, out)
		}
	}
	if raw, _ := os.ReadFile(there); string(raw) != "precious" {
		t.Errorf("%s", raw)
	}
	out, exit := o.init("", "--recovery-key", "none", "--json")
	var made introduced
	if exit != 0 || !strings.Contains(out, "! without a recovery key") {
		t.Fatal(exit, out)
	}
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &made); err != nil || made.Introduction != o.git("config", "pullnode.introduction") || len(made.Signers) != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	o.introduced()
}

func TestInitOutsideOfARepository(t *testing.T) {
	o := newOperator(t)
	o.repo = t.TempDir()
	if out, exit := o.init(""); exit != exitFailed || !strings.Contains(out, "is not a Git repository") || !strings.Contains(out, "hint: git init -b main") {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

// At a real terminal: one key for each question.
func TestInitAtATerminal(t *testing.T) {
	o := newOperator(t)
	master, slave := terminal(t)
	self, err := os.Executable()
	mustDo(t, err)
	cmd := o.command(self, "init", "--repo", o.repo)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	mustDo(t, cmd.Start())
	slave.Close()
	var seen strings.Builder
	read := func(until string) {
		buf := make([]byte, 1024)
		for !strings.Contains(seen.String(), until) {
			n, err := master.Read(buf)
			if err != nil {
				t.Fatalf("%v before %q in\n%s", err, until, seen.String())
			}
			seen.Write(buf[:n])
		}
	}
	read("[Y/n] ")
	master.WriteString("n\n")
	read("(Enter: none): ")
	master.WriteString("\n")
	read("pullnode verify")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, seen.String())
	}
	o.introduced()
}

// terminal gives both ends of a pseudo-terminal: pts(4).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	mustDo(t, err)
	t.Cleanup(func() { master.Close() })
	mustDo(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	mustDo(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	mustDo(t, err)
	return master, slave
}

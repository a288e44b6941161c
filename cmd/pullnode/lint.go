package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pullnode/activate"
	"pullnode/internal/sopsconf"
	"pullnode/sync"
)

// fault is something that lint found.
type fault struct {
	Part string `json:"part"` // policy, secrets, history or lock
	What string `json:"what"`
	// Note says that it is worth knowing, and no fault.
	Note bool `json:"note,omitempty"`
}

// lintCommand looks for what is allowed and unwise, and for what must never be in
// a public repository. It reads commits, not the work tree.
func lintCommand() *command {
	var repo string
	var asJSON, recovery bool
	return &command{args: "[COMMIT] [--recovery-key] [--repo DIR] [--json]", short: "find lock-outs, bots with too much power, secrets in the open, loose inputs", maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.BoolVar(&recovery, "recovery-key", false, "the nodes have a recoveryKey")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			top, err := gitIn(ctx, repo, "rev-parse", "--show-toplevel")
			if err != nil {
				return hint(usageError("%s is not a Git repository", repo), "pullnode lint --repo DIR")
			}
			l := linter{ctx: ctx, dir: top, commit: "HEAD", found: []fault{}}
			if len(args) == 1 {
				l.commit = args[0]
			}
			if l.commit, err = gitIn(ctx, top, "rev-parse", "--verify", "--quiet", l.commit+"^{commit}"); err != nil {
				return usageError("the clone has no such commit")
			}
			if key, _ := gitIn(ctx, top, "config", "pullnode.recoveryKey"); key != "" {
				recovery = true
			}
			if err := l.run(recovery); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(out, map[string]any{"commit": l.commit, "found": l.found})
			} else {
				l.print(out)
			}
			if err == nil && slices.ContainsFunc(l.found, func(f fault) bool { return !f.Note }) {
				return exitError(exitFailed)
			}
			return err
		}}
}

type linter struct {
	ctx    context.Context
	dir    string
	commit string
	found  []fault
}

func (l *linter) print(out io.Writer) {
	for _, f := range l.found {
		mark := "✗"
		if f.Note {
			mark = "·"
		}
		fmt.Fprintf(out, "%s %-8s %s\n", mark, f.Part, safe(f.What))
	}
	if len(l.found) == 0 {
		fmt.Fprintf(out, "%s: nothing found\n", short(l.commit))
	}
}

func (l *linter) add(part, format string, args ...any) {
	l.found = append(l.found, fault{Part: part, What: fmt.Sprintf(format, args...)})
}

func (l *linter) git(args ...string) (string, error) {
	raw, err := gitRaw(l.ctx, l.dir, nil, "", args...)
	return string(raw), err
}

func (l *linter) run(recovery bool) error {
	list, err := l.git("ls-tree", "-r", "-z", l.commit)
	if err != nil {
		return err
	}
	rules, secrets := l.secrets()
	policy := map[string][]byte{}
	lock := map[string]string{}
	err = eachBlob(l.ctx, l.dir, entries(list), func(name string, raw []byte) error {
		switch {
		case strings.HasPrefix(name, sync.PolicyDir+"/"):
			policy[name] = raw
		case name == "flake.nix" || name == "flake.lock":
			lock[name] = string(raw)
		}
		for _, leak := range leaks(name, raw, rules) {
			l.add("secrets", "%s", leak)
		}
		secrets.see(name, raw)
		return nil
	})
	if err != nil {
		return err
	}
	secrets.run()
	for _, what := range sync.Lint(policy, recovery) {
		l.add("policy", "%s", what)
	}
	if err := l.lock(lock); err != nil {
		return err
	}
	return l.history()
}

// secrets reads the commit's .sops.yaml. One that cannot be read is a fault, and then
// nothing is said about who opens what.
func (l *linter) secrets() (sopsRules, *secretLint) {
	s := &secretLint{envs: map[string]string{}, pins: map[string][]string{},
		add: func(format string, args ...any) { l.add("secrets", format, args...) },
		note: func(format string, args ...any) {
			l.add("secrets", format, args...)
			l.found[len(l.found)-1].Note = true
		}}
	text, err := l.git("cat-file", "blob", l.commit+":"+sopsconf.Name)
	if err != nil {
		return nil, s // there is none
	}
	rules, err := sopsRulesIn([]byte(text))
	if err != nil {
		s.add("%v", err)
		return nil, s
	}
	if s.conf, err = sopsconf.Parse([]byte(text)); err != nil {
		s.add("%s %v", sopsconf.Name, err)
	}
	return rules, s
}

// lock judges flake.lock as a node does, where there is a flake.
func (l *linter) lock(files map[string]string) error {
	if files["flake.nix"] == "" {
		return nil
	}
	tmp, err := os.MkdirTemp("", "pullnode-lint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if _, err := activate.LintLock(tmp); err != nil {
		l.add("lock", "%v", err)
	}
	return nil
}

// history finds private keys that any commit below brought in: taking a file out
// again takes it out of nobody's clone.
func (l *linter) history() error {
	var keys []string
	for _, k := range privateKeys {
		keys = append(keys, strings.TrimPrefix(k.re.String(), "(?m)")) // git looks at lines anyway
	}
	text, err := l.git("log", "-z", "--format=%x01%H", "--name-only", "--diff-filter=AM", "-m", "-G", strings.Join(keys, "|"), l.commit)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for commit := range strings.SplitSeq(text, "\x01") {
		id, names, _ := strings.Cut(commit, "\x00")
		for name := range strings.SplitSeq(names, "\x00") {
			name = strings.TrimSpace(name)
			if name == "" || seen[name] || meantForAll(name) {
				continue
			}
			blob, err := l.git("cat-file", "blob", strings.TrimSpace(id)+":"+name)
			if err != nil {
				return err
			}
			if len(keysIn(name, []byte(blob))) == 0 {
				continue
			}
			seen[name] = true
			l.add("history", "%s in commit %s holds a private key; whoever has cloned the repository has it: replace it", name, short(strings.TrimSpace(id)))
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pullnode/internal/durable"
)

// hookMark says that a hook is ours and may be replaced.
const hookMark = "# written by: pullnode hook"

// prePush asks what nodes would say of each branch that they follow. What is not
// allowed yet (3) may be pushed: that is how approvals are collected.
const prePush = `#!/bin/sh
` + hookMark + `
while read -r local id remote _; do
  case " @branches@ " in *" ${remote#refs/heads/} "*) ;; *) continue ;; esac
  case "$id" in *[!0]*) ;; *) continue ;; esac # a branch that is deleted
  said=$("${PULLNODE:-pullnode}" verify "$id" 2>&1) && continue
  [ $? = 3 ] && continue
  printf '%s\n' "$said" "nodes would refuse this; to push it all the same: git push --no-verify" >&2
  exit 1
done
`

// preCommit refuses secrets that are not encrypted, and private keys.
const preCommit = `#!/bin/sh
` + hookMark + `
said=$("${PULLNODE:-pullnode}" secret check --staged 2>&1) && exit 0
printf '%s\n' "$said" "to commit it all the same: git commit --no-verify" >&2
exit 1
`

// hookCommand installs the hooks of a clone.
func hookCommand() *command {
	var dir, branches string
	return &command{args: "[--branches main,deploy] [--repo DIR]", short: "have git ask pullnode before a push and a commit",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&dir, "repo", ".", "a clone of the configuration repository")
			fs.StringVar(&branches, "branches", "main", "the branches that nodes follow, by comma")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			hooks, err := gitIn(ctx, dir, "rev-parse", "--path-format=absolute", "--git-path", "hooks")
			if err != nil {
				return hint(fmt.Errorf("%s is not a Git repository", dir), "pullnode hook --repo DIR")
			}
			names := strings.FieldsFunc(branches, func(r rune) bool { return r == ',' || r == ' ' })
			for _, b := range names {
				if _, err := gitIn(ctx, dir, "check-ref-format", "--branch", b); err != nil || strings.ContainsAny(b, "`$\"'\\") {
					return usageError("%q is no name of a branch", b)
				}
			}
			push, commit, merge := filepath.Join(hooks, "pre-push"), filepath.Join(hooks, "pre-commit"), filepath.Join(hooks, "pre-merge-commit")
			if err := writeHook(push, strings.ReplaceAll(prePush, "@branches@", strings.Join(names, " ")), "call pullnode verify \"$id\" from it for each line of its input"); err != nil {
				return err
			}
			if err := writeHook(commit, preCommit, "call pullnode secret check --staged from it"); err != nil {
				return err
			}
			// git asks no pre-commit of a merge that it makes by itself.
			if err := writeHook(merge, preCommit, "call pullnode secret check --staged from it"); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s asks pullnode secret check before each commit\n%s before each merge\n", commit, merge)
			_, err = fmt.Fprintf(out, "%s asks pullnode verify before each push of %s\n", push, strings.Join(names, ", "))
			return err
		}}
}

// writeHook replaces a hook that is ours; another one is left alone.
func writeHook(path, text, instead string) error {
	switch raw, err := os.ReadFile(path); {
	case err == nil && !strings.Contains(string(raw), hookMark):
		return hint(fmt.Errorf("%s is there already", path), instead)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(text), 0o755)
}

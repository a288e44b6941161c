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

// hookCommand installs the pre-push hook of a clone.
func hookCommand() *command {
	var dir, branches string
	return &command{args: "[--branches main,deploy] [--repo DIR]", short: "have git push ask pullnode verify first",
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
			path := filepath.Join(hooks, "pre-push")
			switch raw, err := os.ReadFile(path); {
			case err == nil && !strings.Contains(string(raw), hookMark):
				return hint(fmt.Errorf("%s is there already", path), "call pullnode verify \"$id\" from it for each line of its input")
			case err != nil && !errors.Is(err, os.ErrNotExist):
				return err
			}
			if err := os.MkdirAll(hooks, 0o755); err != nil {
				return err
			}
			if err := durable.WriteFile(path, []byte(strings.ReplaceAll(prePush, "@branches@", strings.Join(names, " "))), 0o755); err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s asks pullnode verify before each push of %s\n", path, strings.Join(names, ", "))
			return err
		}}
}

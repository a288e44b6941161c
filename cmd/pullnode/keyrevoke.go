package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// keyRevokeCommand shuts a lost host out and says what it could read.
func keyRevokeCommand() *command {
	var repo string
	var dry, asJSON bool
	return &command{args: "HOST|RECIPIENT [--list] [--json]", minArg: 1, maxArg: 1,
		short: "take a lost key out of every secret, and list the secrets that it could read",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.BoolVar(&dry, "list", false, "change nothing: only say what it can read")
			fs.BoolVar(&asJSON, "json", false, "print JSON; with --list")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			if asJSON && !dry {
				return usageError("key revoke: --json goes with --list")
			}
			r, err := openSecretRepo(ctx, repo, out)
			if err != nil {
				return err
			}
			keys := r.keysOf(args[0])
			if a, ok := r.conf.Resolve(args[0]); ok && len(keys) == 0 {
				keys = []string{a}
			}
			if len(keys) == 0 {
				return hint(fmt.Errorf(".sops.yaml names no key after %s", args[0]), "say the recipient itself: age1…")
			}
			could, err := r.readableBy(keys)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, map[string]any{"recipients": keys, "readable": slices.Concat([]readable{}, could)})
			}
			if !slices.ContainsFunc(r.conf.Recipients(), func(a string) bool { return slices.Contains(keys, a) }) && len(could) == 0 {
				return fmt.Errorf("neither .sops.yaml nor any secret has %s", args[0])
			}
			fmt.Fprintf(out, "key      %s\n", strings.Join(keys, "\n         "))
			printReadable(out, could)
			if dry {
				return nil
			}
			fmt.Fprintln(out)
			if err := r.drop(keys); err != nil {
				return err
			}
			if err := r.left(keys); err != nil {
				return err
			}
			fmt.Fprint(out, "\nNext:\n  change each of the values above at its source: the new encryption does not undo that it was read\n  pullnode secret edit FILE\n  git add -A && git commit -S && git push\n")
			return nil
		}}
}

func printReadable(out io.Writer, could []readable) {
	if len(could) == 0 {
		fmt.Fprintln(out, "\nNo secret is or was encrypted for it in this clone.")
		return
	}
	fmt.Fprintln(out, "\nWhoever has this key and a clone can read these. They must be changed at their source:")
	for _, c := range could {
		past := ""
		if c.Past {
			past = "   (in older commits)"
		}
		fmt.Fprintf(out, "  %s%s\n", safe(c.File), past)
		for _, n := range c.Names {
			fmt.Fprintf(out, "    %s\n", safe(n))
		}
	}
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pullnode/keysrc"
)

// secretCommands are thin helpers over the sops CLI, for a clone.
func secretCommands() map[string]*command {
	return map[string]*command{
		"secret new":   editSecret(true),
		"secret edit":  editSecret(false),
		"secret check": checkSecrets(),
	}
}

// editSecret runs sops on a file that .sops.yaml has a rule for, and looks at what
// came of it.
func editSecret(fresh bool) *command {
	var repo string
	short := "edit a file that is encrypted with sops"
	if fresh {
		short = "make a file that is encrypted with sops"
	}
	return &command{args: "FILE [--repo DIR]", short: short, minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) { fs.StringVar(&repo, "repo", ".", "the configuration repository") },
		run: func(ctx context.Context, args []string, out io.Writer) error {
			top, err := gitIn(ctx, repo, "rev-parse", "--show-toplevel")
			if err != nil {
				return fmt.Errorf("%s is not a Git repository", repo)
			}
			name := filepath.Clean(args[0])
			if !filepath.IsLocal(name) {
				return usageError("%q is not a path inside the repository", args[0])
			}
			rules, err := secretRules(top)
			if err != nil {
				return err
			}
			if !rules.match(name) {
				return hint(fmt.Errorf(".sops.yaml has no rule for %s, so it is not known for whom to encrypt it", name),
					fmt.Sprintf("add below creation_rules: - path_regex: ^%s$", strings.ReplaceAll(name, ".", `\.`)))
			}
			path := filepath.Join(top, name)
			_, err = os.Stat(path)
			switch {
			case fresh && err == nil:
				return hint(fmt.Errorf("%s is there already", name), "pullnode secret edit "+name)
			case !fresh && errors.Is(err, os.ErrNotExist):
				return hint(fmt.Errorf("there is no %s", name), "pullnode secret new "+name)
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			sops, err := exec.LookPath("sops")
			if err != nil {
				return hint(errors.New("sops is missing"), "nix shell nixpkgs#sops")
			}
			cmd := exec.CommandContext(ctx, sops, "edit", name)
			cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = top, os.Stdin, out, os.Stderr
			// sops ends with 200 when the file was left as it was.
			var exit *exec.ExitError
			if err := cmd.Run(); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 200) {
				return fmt.Errorf("sops edit %s: %w", name, err)
			}
			raw, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s was not made: nothing was saved", name)
			}
			if err != nil {
				return err
			}
			if _, err := keysrc.ReadMeta(name, raw); err != nil {
				return hint(fmt.Errorf("%s is not encrypted: %w", name, err), "do not commit it; sops encrypt -i "+name)
			}
			fmt.Fprintf(out, "%s is encrypted; next: git add %s\n", name, name)
			return nil
		}}
}

// checkSecrets refuses what must not be committed.
func checkSecrets() *command {
	var repo string
	var staged, asJSON bool
	return &command{args: "[--staged] [--repo DIR] [--json]", short: "find secrets that are not encrypted, and private keys",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.BoolVar(&staged, "staged", false, "look at what the next commit changes, instead of all files")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			top, err := gitIn(ctx, repo, "rev-parse", "--show-toplevel")
			if err != nil {
				return fmt.Errorf("%s is not a Git repository", repo)
			}
			files, err := indexed(ctx, top, staged)
			if err != nil {
				return err
			}
			rules, err := secretRules(top)
			if err != nil {
				return err
			}
			// What is going to be committed may have another .sops.yaml than the work tree.
			if raw, err := gitRaw(ctx, top, nil, "", "cat-file", "blob", ":.sops.yaml"); err == nil {
				more, err := sopsRulesIn(raw)
				if err != nil {
					return err
				}
				rules = append(rules, more...)
			}
			var found []leak
			err = eachBlob(ctx, top, files, func(name string, raw []byte) error {
				found = append(found, leaks(name, raw, rules)...)
				return nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(out, map[string]any{"files": len(files), "found": found}); err != nil {
					return err
				}
			} else {
				for _, l := range found {
					fmt.Fprintf(out, "✗ %s\n", l)
				}
			}
			if len(found) > 0 {
				return hint(fmt.Errorf("%d of %d files must not be committed", count(found), len(files)), "encrypt them: sops encrypt -i FILE; a private key that was ever pushed must be replaced")
			}
			if !asJSON {
				fmt.Fprintf(out, "%d files: every secret is encrypted, and no private key is among them\n", len(files))
			}
			return nil
		}}
}

// indexed are the files of the index, or those that the next commit changes.
func indexed(ctx context.Context, top string, staged bool) ([]entry, error) {
	list, err := gitRaw(ctx, top, nil, "", "ls-files", "-s", "-z")
	if err != nil || !staged {
		return entries(string(list)), err
	}
	names, err := gitRaw(ctx, top, nil, "", "diff", "--cached", "--name-only", "--no-renames", "--diff-filter=ACMRT", "-z")
	changed := map[string]bool{}
	for name := range strings.SplitSeq(string(names), "\x00") {
		changed[name] = true
	}
	return slices.DeleteFunc(entries(string(list)), func(e entry) bool { return !changed[e.name] }), err
}

func count(found []leak) int {
	files := map[string]bool{}
	for _, l := range found {
		files[l.File] = true
	}
	return len(files)
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"pullnode/activate"
	"pullnode/activate/systemd"
	"pullnode/internal/config"
)

func checkCommand() *command {
	return &command{args: "FILE", short: "check a settings file", minArg: 1, maxArg: 1,
		run: func(_ context.Context, args []string, out io.Writer) error {
			c, err := config.Load(args[0])
			if err != nil {
				return err
			}
			if err := openKinds(c); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			_, err = fmt.Fprintf(out, "%s is valid: %s follows %s of %s\n", args[0], c.HostName, c.Branch, c.Remotes[0].URL)
			return err
		}}
}

// decideCommand is what the guard asks: it succeeds when the caller's word is
// the decision that stands.
func decideCommand() *command {
	var dir string
	return &command{args: "ID confirm|revert", minArg: 2, maxArg: 2,
		flags: func(fs *flag.FlagSet) { fs.StringVar(&dir, "dir", runDir, "directory of the decision file") },
		run: func(_ context.Context, args []string, _ io.Writer) error {
			d := activate.Decision(args[1])
			if d != activate.Confirm && d != activate.Revert {
				return usageError("decide: %q is neither confirm nor revert", args[1])
			}
			exit, err := systemd.DecideVerb(filepath.Clean(dir), args[0], d)
			if exit == 0 {
				return nil // it stands, even where it could not be written: see DecideVerb
			}
			if err != nil {
				return err
			}
			return exitError(exit)
		}}
}

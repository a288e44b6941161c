package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"pullnode/activate"
	"pullnode/activate/systemd"
	"pullnode/internal/config"
)

func checkCommand() *command {
	var asJSON bool
	return &command{args: "FILE [--json]", short: "check a settings file", minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) { jsonFlag(fs, &asJSON) },
		run: func(_ context.Context, args []string, out io.Writer) error {
			c, err := loadWhole(args[0])
			if asJSON {
				return checkJSON(out, args[0], c, err)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s is valid: %s follows %s of %s\n", args[0], c.HostName, c.Branch, c.Remotes[0].URL)
			return err
		}}
}

// loadWhole loads the settings and opens every kind in them, to find all that is
// wrong.
func loadWhole(path string) (*config.Config, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := openKinds(c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func checkJSON(out io.Writer, path string, c *config.Config, err error) error {
	v := struct {
		File     string   `json:"file"`
		Valid    bool     `json:"valid"`
		HostName string   `json:"hostName,omitempty"`
		Branch   string   `json:"branch,omitempty"`
		Remotes  []string `json:"remotes,omitempty"`
		Problems []string `json:"problems,omitempty"` // one a mistake, each with its field
	}{File: path, Valid: err == nil}
	if err != nil {
		v.Problems = strings.Split(strings.TrimPrefix(err.Error(), path+": "), "\n")
	} else {
		v.HostName, v.Branch = c.HostName, c.Branch
		for _, r := range c.Remotes {
			v.Remotes = append(v.Remotes, r.URL)
		}
	}
	if perr := printJSON(out, v); perr != nil || err == nil {
		return perr
	}
	return exitError(exitFailed)
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

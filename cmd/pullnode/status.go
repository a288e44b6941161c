package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"pullnode/internal/agent"
)

// runDir is where an installed agent shows its status and takes requests.
const runDir = "/run/pullnode"

func statusCommand() *command {
	var asJSON bool
	var dir string
	return &command{args: "[--json] [--run DIR]", short: "say what this node runs and why",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&asJSON, "json", false, "print JSON")
			fs.StringVar(&dir, "run", runDir, "the agent's run directory")
		},
		run: func(_ context.Context, _ []string, out io.Writer) error {
			raw, err := os.ReadFile(agent.StatusPath(dir))
			if errors.Is(err, os.ErrNotExist) {
				return hint(fmt.Errorf("there is no status in %s: the agent has not run since boot", dir), "systemctl status pullnode")
			}
			if err != nil {
				return err
			}
			var s agent.Status
			if err := json.Unmarshal(raw, &s); err != nil {
				return fmt.Errorf("%s: %w", agent.StatusPath(dir), err)
			}
			if asJSON {
				if _, err := out.Write(raw); err != nil {
					return err
				}
			} else {
				printStatus(out, s, time.Now(), syscall.Kill(s.Pid, 0) != syscall.ESRCH)
			}
			if !well(s) {
				return exitError(exitNotWell)
			}
			return nil
		}}
}

func well(s agent.Status) bool {
	switch s.Sync {
	case "in-sync", "behind", "suspended", "starting":
		return s.Health != "reverted" && s.Health != "stuck"
	}
	return false
}

func printStatus(w io.Writer, s agent.Status, now time.Time, alive bool) {
	mark := "●"
	if !well(s) {
		mark = "✗"
	}
	verdict := strings.ReplaceAll(s.Sync, "-", " ")
	if s.Health == "reverted" {
		verdict = "reverted"
	}
	life := "not running"
	if alive {
		life = fmt.Sprintf("running %s, pid %d", span(now.Sub(s.Started)), s.Pid)
	}
	fmt.Fprintf(w, "%s %-48s  %s\n", mark, s.Host+"  "+verdict, life)
	row := func(name, what, more string) {
		if what != "" {
			fmt.Fprintf(w, "  %-8s %-40s %s\n", name, safe(what), safe(more))
		}
	}
	commit := func(name string, c *agent.Commit) {
		if c == nil || c.ID == "" {
			return
		}
		more := s.Branch
		if c.Signer != "" {
			more += ", signed by " + c.Signer
		}
		if !c.When.IsZero() {
			more += ", " + ago(now, c.When)
		}
		row(name, short(c.ID)+"  "+c.Subject, more)
	}
	if s.Wanted == nil {
		commit("commit", s.Running)
	} else {
		commit("wanted", s.Wanted)
		commit("running", s.Running)
	}
	if s.Gen > 0 {
		row("system", fmt.Sprintf("generation %d", s.Gen), s.Operation)
	} else if s.Toplevel != "" {
		row("system", s.Toplevel[strings.LastIndexByte(s.Toplevel, '/')+1:], s.Operation)
	}
	row("health", s.Health, "")
	row("doing", s.Phase, "")
	for i, why := range s.Why {
		name := "why"
		if i > 0 {
			name = ""
		}
		for _, l := range strings.Split(why, "\n") {
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-8s %s", name, safe(l)), " "))
			name = ""
		}
	}
	if s.Failure != nil {
		row("remote", s.Failure.Class+": "+s.Failure.Text, fmt.Sprintf("%d times", s.Failure.Count))
	}
	if !s.Next.IsZero() && alive {
		row("next", "poll in "+span(s.Next.Sub(now)), "")
	}
	foot(w, s)
}

func foot(w io.Writer, s agent.Status) {
	if s.Health == "reverted" && s.Wanted != nil {
		fmt.Fprintf(w, "\n  %s won't be tried again. Push a fix, or: pullnode retry %s\n", short(s.Wanted.ID), short(s.Wanted.ID))
	} else if s.Hint != "" && !well(s) {
		fmt.Fprintf(w, "\n  hint: %s\n", safe(s.Hint))
	}
	for _, a := range s.Alerts {
		fmt.Fprintf(w, "! %s\n", safe(a))
	}
}

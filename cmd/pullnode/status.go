package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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
			jsonFlag(fs, &asJSON)
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
	case "in-sync", "behind", "pending", "suspended", "starting":
		return s.Health != "reverted" && s.Health != "stuck"
	}
	return false
}

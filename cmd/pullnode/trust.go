package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"pullnode/internal/agent"
	"pullnode/sync"
)

// trustCommand is the way out that needs root on the node: trust begins anew with
// the commit that is named, whatever was trusted before.
func trustCommand() *command {
	var dir string
	var asJSON bool
	r := agent.Request{Verb: "trust"}
	return &command{args: "COMMIT --reason TEXT [--json] [--run DIR]", short: "begin anew with this commit, after state was lost or history rewritten", minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&r.Reason, "reason", "", "why, for the history")
			fs.StringVar(&dir, "run", runDir, "the agent's run directory")
			jsonFlag(fs, &asJSON)
		},
		run: func(_ context.Context, args []string, out io.Writer) error {
			id, err := sync.ParseID(args[0])
			if err != nil {
				return usageError("trust: %v: it replaces everything that this node knows", err)
			}
			if r.Reason == "" {
				return usageError("trust: --reason is missing: say why, for the history")
			}
			r.Commit = string(id)
			if err := put(dir, r); err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, asked{r})
			}
			_, err = fmt.Fprintf(out, "asked the agent to begin anew with %s; pullnode status says what became of it\n", id.Short())
			return err
		}}
}

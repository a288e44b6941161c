package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"
)

// resetCommand makes nodes follow a history that does not descend from what they
// accepted, such as a rewritten one: an empty signed commit on top of it.
func resetCommand() *command {
	c := &clone{}
	var branch string
	var seq int64
	return &command{args: "[--branch main] [--key FILE] [--push] [--yes] [--repo DIR]", short: "make nodes follow a rewritten history, by the admins' or the recovery key",
		flags: func(fs *flag.FlagSet) {
			c.cloneFlags(fs)
			fs.StringVar(&branch, "branch", "main", "the branch that nodes follow")
			fs.StringVar(&c.key, "key", "", "sign with this SSH key, such as the recovery key")
			fs.Int64Var(&seq, "seq", 0, "number of the reset, above all before; default: the time in seconds")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			if err := c.begin(ctx, out); err != nil {
				return err
			}
			// Not fetched: the remote has the history that this one replaces.
			tip, err := c.git("rev-parse", "--verify", "--quiet", "refs/heads/"+branch+"^{commit}")
			if err != nil {
				return usageError("the clone has no branch %q", branch)
			}
			if seq == 0 {
				seq = time.Now().Unix()
			}
			if err := c.agreed(fmt.Sprintf("Make all nodes follow %s as it is here, whatever they accepted before?", branch)); err != nil {
				return err
			}
			if c.push {
				fmt.Fprintln(out, "! a rewritten branch is pushed by hand: git push --force-with-lease")
				c.push = false
			}
			_, err = c.add(branch, tip+"^{tree}", "Reset\n\nPullnode-Reset: "+strconv.FormatInt(seq, 10)+"\n", tip)
			return err
		}}
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
)

// approveCommand adds a person's word to what a branch is at: an empty signed
// commit on an identical tree.
func approveCommand() *command {
	c := &clone{}
	var branch string
	return &command{args: "[--branch main] [--push] [--yes] [--repo DIR]", short: "sign what a branch is at, for nodes that wait for it",
		flags: func(fs *flag.FlagSet) {
			c.cloneFlags(fs)
			fs.StringVar(&branch, "branch", "main", "the branch that nodes follow")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			if err := c.begin(ctx, out); err != nil {
				return err
			}
			if err := c.fetch(branch); err != nil {
				return err
			}
			tip, err := c.tip(branch)
			if err != nil {
				return err
			}
			if err := c.show(c.approved(tip), tip); err != nil {
				return err
			}
			if err := c.agreed(fmt.Sprintf("Approve %s?", short(tip))); err != nil {
				return err
			}
			_, err = c.add(branch, tip+"^{tree}", "Approve "+short(tip)+"\n", tip)
			return err
		}}
}

// approved gives the newest first-parent ancestor with another tree: what is
// approved is the difference to it.
func (c *clone) approved(tip string) string {
	tree, _ := c.git("rev-parse", tip+"^{tree}")
	for at := tip; ; {
		parent, err := c.git("rev-parse", "--verify", "--quiet", at+"^1")
		if err != nil {
			return at
		}
		if t, _ := c.git("rev-parse", parent+"^{tree}"); t != tree {
			return parent
		}
		at = parent
	}
}

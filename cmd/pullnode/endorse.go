package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
)

// endorseCommand takes what a forge merged into the branch that nodes follow, by
// one signed merge that names the forge's commit by its full id.
func endorseCommand() *command {
	c := &clone{}
	var onto string
	return &command{args: "COMMIT [--onto deploy] [--push] [--yes] [--repo DIR]", short: "vouch for a commit and all below it, on the branch that nodes follow", minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			c.cloneFlags(fs)
			fs.StringVar(&onto, "onto", "deploy", "the branch that nodes follow")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			if err := c.begin(ctx, out); err != nil {
				return err
			}
			for _, b := range []string{args[0], onto} {
				if err := c.fetch(b); err != nil {
					return err
				}
			}
			return c.endorse(args[0], onto)
		}}
}

func (c *clone) endorse(what, onto string) error {
	id, err := c.git("rev-parse", "--verify", "--quiet", what+"^{commit}")
	if err != nil {
		return usageError("the clone has no commit %q", what)
	}
	base, err := c.tip(onto)
	if err != nil {
		return err
	}
	if _, err := c.git("merge-base", "--is-ancestor", id, base); err == nil {
		fmt.Fprintf(c.out, "%s has %s already\n", onto, short(id))
		return nil
	}
	// What the merge gives, without a work tree: git 2.38 or newer.
	tree, err := c.git("merge-tree", "--write-tree", "--no-messages", base, id)
	if err != nil {
		return hint(fmt.Errorf("%s and %s do not merge by themselves", onto, what),
			fmt.Sprintf("git switch %s && git merge --no-ff -S -m 'Merge' -m 'Pullnode-Endorse: %s' %s", onto, id, id))
	}
	tree, _, _ = strings.Cut(tree, "\n")
	if err := c.show(base, id); err != nil {
		return err
	}
	if err := c.agreed(fmt.Sprintf("Vouch for %s and everything below it, on %s?", short(id), onto)); err != nil {
		return err
	}
	name := what
	if strings.HasPrefix(id, what) {
		name = short(id)
	}
	_, err = c.add(onto, tree, fmt.Sprintf("Endorse %s\n\nPullnode-Endorse: %s\n", name, id), base, id)
	return err
}

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// clone is the operator's clone of the configuration repository, for commands
// that add one signed commit to a branch. The commit is made beside work tree and
// index, and the branch moves only if it still is where it was looked at.
type clone struct {
	ctx  context.Context
	dir  string
	out  io.Writer
	in   io.Reader // answers; the terminal
	yes  bool
	push bool
	key  string // a signing key other than git's own
}

// cloneFlags are what these commands share.
func (c *clone) cloneFlags(fs *flag.FlagSet) {
	fs.StringVar(&c.dir, "repo", ".", "a clone of the configuration repository")
	fs.BoolVar(&c.yes, "yes", false, "do not ask")
	fs.BoolVar(&c.push, "push", false, "push the branch to where it comes from")
}

func (c *clone) begin(ctx context.Context, out io.Writer) error {
	c.ctx, c.out, c.in = ctx, out, os.Stdin
	if _, err := c.git("rev-parse", "--git-dir"); err != nil {
		return hint(fmt.Errorf("%s is not a Git repository", c.dir), "pullnode … --repo DIR")
	}
	return nil
}

func (c *clone) git(args ...string) (string, error) { return gitIn(c.ctx, c.dir, args...) }

// tip gives the full id of a local branch. Where the branch that it follows has
// commits that it lacks, a commit on top would be a fork: that is an error.
func (c *clone) tip(branch string) (string, error) {
	id, err := c.git("rev-parse", "--verify", "--quiet", "refs/heads/"+branch+"^{commit}")
	if err != nil {
		return "", hint(fmt.Errorf("the clone has no branch %q", branch), "git fetch origin "+branch+":"+branch)
	}
	up, err := c.git("rev-parse", "--verify", "--quiet", branch+"@{upstream}")
	if err != nil {
		return id, nil // it follows nothing
	}
	if _, err := c.git("merge-base", "--is-ancestor", up, id); err != nil {
		return "", hint(fmt.Errorf("%s lacks commits that its remote has", branch), "git fetch origin "+branch+":"+branch)
	}
	return id, nil
}

// fetch brings what the remote has of the branch, and its local branch along
// where that only moves forward. Without a remote there is nothing to bring.
func (c *clone) fetch(branch string) error {
	remote, err := c.git("config", "branch."+branch+".remote")
	if err != nil || remote == "." {
		return nil
	}
	_, err = c.git("fetch", "--quiet", remote)
	return err
}

// add makes the signed commit and moves the branch to it.
func (c *clone) add(branch, tree, message string, parents ...string) (string, error) {
	var args []string
	if c.key != "" {
		args = append(args, "-c", "gpg.format=ssh", "-c", "user.signingkey="+c.key)
	}
	args = append(args, "commit-tree", "-S", "-F", "-")
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	cmd := exec.CommandContext(c.ctx, "git", append([]string{"-C", c.dir}, append(args, tree)...)...)
	var errs strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(message), &errs
	raw, err := cmd.Output()
	if err != nil {
		return "", hint(fmt.Errorf("git could not sign the commit: %s", strings.TrimSpace(errs.String())), "git config user.signingkey")
	}
	id := strings.TrimSpace(string(raw))
	move := []string{"update-ref", "-m", "pullnode", "refs/heads/" + branch, id, parents[0]}
	if head, err := c.git("symbolic-ref", "--quiet", "--short", "HEAD"); err == nil && head == branch {
		move = []string{"merge", "--quiet", "--ff-only", id} // the work tree goes along
	}
	if _, err := c.git(move...); err != nil {
		return "", err
	}
	fmt.Fprintf(c.out, "%s is %s\n", branch, id)
	if !c.push {
		fmt.Fprintf(c.out, "Now: git push origin %s\n", branch)
		return id, nil
	}
	remote, err := c.git("config", "branch."+branch+".remote")
	if err != nil {
		remote = "origin"
	}
	if _, err := c.git("push", "--quiet", remote, branch); err != nil {
		return "", hint(err, "the commit is made: git push "+remote+" "+branch)
	}
	fmt.Fprintf(c.out, "pushed to %s\n", remote)
	return id, nil
}

// show prints what the nodes would get: the commits and the whole difference.
func (c *clone) show(from, to string) error {
	for _, args := range [][]string{{"log", "--oneline", "--no-decorate", from + ".." + to}, {"diff", "--stat", "--patch", from, to}} {
		text, err := c.git(args...)
		if err != nil {
			return err
		}
		for _, l := range strings.Split(text, "\n") {
			fmt.Fprintln(c.out, safe(strings.ReplaceAll(l, "\t", "    ")))
		}
	}
	return nil
}

// agreed asks, unless told not to. No answer is no.
func (c *clone) agreed(question string) error {
	if c.yes {
		return nil
	}
	fmt.Fprintf(c.out, "%s [y/N] ", question)
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(c.out)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

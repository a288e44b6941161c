package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"

	"pullnode/sync"
)

// cloneTree is the verified tree of the operator's clone, for commands that give it
// to another tool. What lies in the work tree is never looked at.
type cloneTree struct {
	verifyFlags
	dir string // of flake.nix
}

func (c *cloneTree) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.repo, "repo", ".", "a clone of the configuration repository")
	fs.StringVar(&c.branch, "branch", "", "the branch that nodes follow; default: the settings', else main")
	fs.StringVar(&c.intro, "introduction", "", "where trust begins; default: what pullnode init stored in the clone")
	fs.StringVar(&c.recovery, "recovery-key", "", "the node's recoveryKey; default: what pullnode init stored in the clone")
	fs.StringVar(&c.dir, "dir", "", "the directory of flake.nix in the repository")
}

// onMain takes the branch main where none was said.
func (c *cloneTree) onMain() {
	if c.branch == "" {
		c.branch = "main"
	}
}

// checkout exports what the branch is at in the clone, for this host, into the
// directory work, and gives the commit and its flake. A refusal begins with no.
func (c *cloneTree) checkout(ctx context.Context, host, work, no string) (tip, flake string, err error) {
	c.onMain()
	if tip, err = c.tip(ctx, nil); err != nil {
		return "", "", err
	}
	tree := filepath.Join(work, "source")
	if err := c.export(ctx, host, tip, func(v sync.Verified) error { return v.Export(tree, sync.Limits{}) }); err != nil {
		return "", "", fmt.Errorf("%s %w", no, err)
	}
	return tip, "path:" + filepath.Join(tree, c.dir), nil
}

// published fetches, and gives what the branch is at on the server: a node that is
// installed from anything else would wait for a commit that it never gets.
func (c *cloneTree) published(ctx context.Context) (string, error) {
	remote, err := gitIn(ctx, c.repo, "config", "branch."+c.branch+".remote")
	if err != nil {
		remote = "origin"
	}
	if _, err := gitIn(ctx, c.repo, "remote", "get-url", remote); err != nil {
		return "", hint(fmt.Errorf("the clone has no remote %s, from which nodes would get their commits", remote), "git remote add "+remote+" URL")
	}
	ref, err := gitIn(ctx, c.repo, "config", "branch."+c.branch+".merge")
	if err != nil {
		ref = "refs/heads/" + c.branch
	}
	if _, err := gitIn(ctx, c.repo, "fetch", "--quiet", remote); err != nil {
		return "", err
	}
	at := "refs/remotes/" + remote + "/" + strings.TrimPrefix(ref, "refs/heads/")
	id, err := gitIn(ctx, c.repo, "rev-parse", "--verify", "--quiet", at+"^{commit}")
	if err != nil {
		return "", hint(fmt.Errorf("%s has no branch %s", remote, c.branch), "git push "+remote+" "+c.branch)
	}
	return id, nil
}

// export judges a commit as the host would, and writes its tree to a directory that
// must not be there yet.
func (c *cloneTree) export(ctx context.Context, host, tip string, then func(sync.Verified) error) error {
	top, err := gitIn(ctx, c.repo, "rev-parse", "--absolute-git-dir")
	if err != nil {
		return hint(fmt.Errorf("%s is not a Git repository", c.repo), "--repo DIR")
	}
	c.host = host
	p, err := c.policy(ctx)
	if err != nil {
		return err
	}
	_, v, err := cloneJudge{ctx: ctx, gitDir: top}.use(tip, p, then)
	if err == nil && v.Refused() {
		return &refusal{v}
	}
	return err
}

// refusal is a commit that the host would not run.
type refusal struct{ sync.Verdict }

func (r *refusal) Error() string {
	return fmt.Sprintf("%s: %s: %s", r.Commit.Short(), r.Name, safe(r.Reason))
}

// asRefusal gives the verdict in an error.
func asRefusal(err error) (sync.Verdict, bool) {
	var r *refusal
	if errors.As(err, &r) {
		return r.Verdict, true
	}
	return sync.Verdict{}, false
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"pullnode/sync"
)

// verifyFlags are what pullnode verify was asked.
type verifyFlags struct {
	repo, intro, branch, trusted, host, state, recovery string
	asJSON                                              bool
}

func verifyCommand() *command {
	var f verifyFlags
	return &command{args: "[COMMIT] [--repo DIR] [--introduction ID@SHA256:FP] [--host NAME] [--branch main] [--trusted COMMIT] [--state FILE] [--json]",
		short: "explain a verdict; changes nothing", maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&f.repo, "repo", ".", "a clone of the configuration repository")
			fs.StringVar(&f.intro, "introduction", "", "where trust begins; default: what pullnode init stored in the clone")
			fs.StringVar(&f.branch, "branch", "main", "the branch that nodes follow")
			fs.StringVar(&f.trusted, "trusted", "", "the commit that the node already accepted")
			fs.StringVar(&f.state, "state", "", "a file that carries the accepted commit from one call to the next")
			fs.StringVar(&f.host, "host", "", "the node whose deploy rule decides; without it none does")
			fs.StringVar(&f.recovery, "recovery-key", "", "the node's recoveryKey; default: what pullnode init stored in the clone")
			fs.BoolVar(&f.asJSON, "json", false, "print JSON")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			v, err := f.verdict(ctx, args)
			if err != nil {
				return err
			}
			if f.asJSON {
				err = printJSON(out, v)
			} else {
				printVerdict(out, v)
			}
			switch {
			case err != nil:
				return err
			case v.Waits():
				return exitError(exitNotWell)
			case v.Refused():
				return exitError(exitFailed)
			}
			return nil
		}}
}

// verdict judges what was asked for. An error is about the question, not about
// the commit.
func (f *verifyFlags) verdict(ctx context.Context, args []string) (v sync.Verdict, err error) {
	top, err := gitIn(ctx, f.repo, "rev-parse", "--absolute-git-dir")
	switch {
	case err != nil && strings.Contains(err.Error(), "dubious ownership"):
		return v, hint(usageError("%s belongs to another user, so git does not read it", f.repo), "git config --global --add safe.directory DIR")
	case err != nil && strings.Contains(err.Error(), "not a git repository"):
		return v, hint(usageError("%s is not a Git repository", f.repo), "pullnode verify --repo DIR")
	case err != nil:
		return v, usageErr{fmt.Errorf("%s: %w", f.repo, err)}
	}
	if f.trusted != "" && f.state != "" {
		return v, usageError("--trusted and --state both say what was accepted; give one")
	}
	if format, err := gitIn(ctx, f.repo, "rev-parse", "--show-object-format"); err == nil && format != "sha1" {
		return f.foreign(ctx, args, format)
	}
	p, err := f.policy(ctx)
	if err != nil {
		return v, err
	}
	tip, err := f.tip(ctx, args)
	if err != nil {
		return v, err
	}
	bad := sync.Verdict{Name: sync.Malformed, Tip: sync.ID(tip), Commit: sync.ID(tip), Trusted: p.Introduction.Commit}
	if kind, err := gitIn(ctx, f.repo, "cat-file", "-t", tip); err == nil && kind != "commit" {
		bad.Reason, bad.Hint = "the branch "+f.branch+" leads to a "+kind+", not to a commit", "git branch --force "+f.branch+" COMMIT"
		return bad, nil
	}
	if _, err := gitIn(ctx, f.repo, "rev-parse", "--verify", "--quiet", tip+"^{commit}"); err != nil {
		bad.Reason, bad.Hint = "the clone has no commit "+tip+", or a damaged one", "git fsck"
		return bad, nil
	}
	if shallow, err := gitIn(ctx, f.repo, "rev-parse", "--is-shallow-repository"); err == nil && shallow == "true" {
		bad.Reason, bad.Hint = "the clone is shallow, so commits are missing that must be judged", "git fetch --unshallow"
		return bad, nil
	}
	c := cloneJudge{ctx: ctx, gitDir: top}
	switch {
	case f.state != "":
		return c.withState(f.state, tip, p)
	case f.trusted != "":
		return c.after(f.trusted, tip, p)
	}
	_, v, err = c.judge(tip, p)
	return v, err
}

// foreign is the verdict on a repository of another object format. Its ids are
// no valid introduction either, so that is not read.
func (f *verifyFlags) foreign(ctx context.Context, args []string, format string) (sync.Verdict, error) {
	tip, err := f.tip(ctx, args)
	if err != nil {
		return sync.Verdict{}, err
	}
	begin := f.trusted
	if begin == "" {
		begin, _, _ = strings.Cut(f.intro, "@")
	}
	return sync.Verdict{Name: sync.Malformed, Tip: sync.ID(tip), Trusted: sync.ID(begin), Commit: sync.ID(tip),
		Reason: "the repository has object ids of the kind " + format + "; only sha1 is supported", Hint: "git init --object-format=sha1"}, nil
}

// tip gives the id that is judged. The branch is asked for by its full name: a
// tag of the same name would come first.
func (f *verifyFlags) tip(ctx context.Context, args []string) (string, error) {
	if len(args) == 1 {
		id, err := gitIn(ctx, f.repo, "rev-parse", "--verify", "--quiet", args[0]+"^{commit}")
		if err != nil {
			return "", usageError("the clone has no commit %q", args[0])
		}
		return id, nil
	}
	for _, ref := range []string{"refs/heads/", "refs/remotes/origin/"} {
		if id, err := gitIn(ctx, f.repo, "show-ref", "--verify", "--hash", "--", ref+f.branch); err == nil {
			return id, nil
		}
	}
	return "", usageError("the clone has no branch %q", f.branch)
}

func (f *verifyFlags) policy(ctx context.Context) (p sync.Policy, err error) {
	p.Host = f.host
	if f.intro == "" {
		if f.intro, err = gitIn(ctx, f.repo, "config", "pullnode.introduction"); err != nil || f.intro == "" {
			return p, hint(usageError("this clone has no introduction"), "pullnode verify --introduction ID@SHA256:FP, as in the node's settings")
		}
	}
	if p.Introduction, err = sync.ParseIntroduction(f.intro); err != nil {
		return p, usageErr{err}
	}
	if f.recovery == "" {
		f.recovery, _ = gitIn(ctx, f.repo, "config", "pullnode.recoveryKey") // there may be none
	}
	if f.recovery != "" {
		if p.Recovery, err = sync.KeyFingerprint(f.recovery); err != nil {
			return p, usageErr{errors.Join(errors.New("recovery key"), err)}
		}
	}
	return p, nil
}

func printVerdict(w io.Writer, v sync.Verdict) {
	for _, s := range v.Steps {
		fmt.Fprintf(w, "✓ %-24s %s\n", safe(s.What), safe(s.Fact))
	}
	if !v.Refused() {
		fmt.Fprintf(w, "accepted: %s %s (%s), signed by %s\n", v.Tip.Short(), safe(v.Subject), v.Name, safe(v.Signer))
		return
	}
	mark := "✗"
	if v.Waits() {
		mark = "…"
	}
	fmt.Fprintf(w, "%s %s\n%s: %s\n", mark, v.Commit.Short(), v.Name, safe(v.Reason))
	if v.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", safe(v.Hint))
	}
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"pullnode/sync"
)

func verifyCommand() *command {
	var repo, intro, branch, trusted, host string
	var asJSON bool
	return &command{args: "[COMMIT] [--repo DIR] [--introduction ID@SHA256:FP] [--branch main] [--json]", short: "explain a verdict; changes nothing", maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "a clone of the configuration repository")
			fs.StringVar(&intro, "introduction", "", "where trust begins; default: what pullnode init stored in the clone")
			fs.StringVar(&branch, "branch", "main", "the branch that nodes follow")
			fs.StringVar(&trusted, "trusted", "", "the commit that the node already accepted")
			fs.StringVar(&host, "host", "", "the node; this rule is the same for all")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			top, err := gitIn(ctx, repo, "rev-parse", "--absolute-git-dir")
			if err != nil {
				return hint(fmt.Errorf("%s is not a Git repository", repo), "pullnode verify --repo DIR")
			}
			if intro == "" {
				if intro, err = gitIn(ctx, repo, "config", "pullnode.introduction"); err != nil || intro == "" {
					return hint(usageError("this clone has no introduction"), "pullnode verify --introduction ID@SHA256:FP, as in the node's settings")
				}
			}
			i, err := sync.ParseIntroduction(intro)
			if err != nil {
				return usageErr{err}
			}
			if len(args) == 1 {
				branch = args[0]
			}
			tip, err := gitIn(ctx, repo, "rev-parse", "--verify", "--quiet", branch+"^{commit}")
			if err != nil {
				return usageError("the clone has no commit %q", branch)
			}
			v, err := judgeClone(ctx, top, tip, sync.Policy{Introduction: i}, trusted)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(out, v)
			} else {
				printVerdict(out, v)
			}
			if err == nil && v.Refused() {
				return exitError(exitFailed)
			}
			return err
		}}
}

// judgeClone judges a tip of a clone as a node would that knows nothing but the
// introduction. With trusted, that commit is judged first and is then T.
func judgeClone(ctx context.Context, gitDir, tip string, p sync.Policy, trusted string) (sync.Verdict, error) {
	var known map[sync.ID]bool
	if trusted != "" {
		first, v, err := judgeOnce(ctx, gitDir, trusted, p)
		if err != nil {
			return v, err
		}
		if v.Refused() {
			return v, nil
		}
		t := first.Trusted()
		known = map[sync.ID]bool{}
		for _, id := range first.NewAncestors() {
			known[id] = true
		}
		p.Trusted, p.Ancestors = &t, func(id sync.ID) bool { return known[id] }
	}
	_, v, err := judgeOnce(ctx, gitDir, tip, p)
	return v, err
}

func judgeOnce(ctx context.Context, gitDir, tip string, p sync.Policy) (sync.Verified, sync.Verdict, error) {
	tmp, err := os.MkdirTemp("", "pullnode-verify-")
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	defer os.RemoveAll(tmp)
	want := sync.Want{Format: sync.StreamFormat, Request: 1, Trusted: string(p.Introduction.Commit), Ancestry: p.Trusted == nil}
	if p.Trusted != nil {
		want.Trusted = string(p.Trusted.Commit)
		for _, id := range p.Trusted.Parents {
			want.TrustedParents = append(want.TrustedParents, string(id))
		}
	}
	answer := filepath.Join(tmp, "answer")
	if err := streamClone(ctx, gitDir, tip, want, answer); err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	in, err := os.Open(answer)
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	defer in.Close()
	spool, err := os.Create(filepath.Join(tmp, "copy"))
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	defer spool.Close()
	s, err := sync.StreamReader{Want: want, Spool: spool}.Read(in)
	if errors.Is(err, sync.ErrStale) {
		return sync.Verified{}, sync.Verdict{}, errors.New("the stream is not the one that was asked for")
	}
	if v, ok := sync.StreamVerdict(err); ok {
		v.Tip, v.Commit, v.Trusted = sync.ID(tip), sync.ID(tip), sync.ID(want.Trusted)
		return sync.Verified{}, v, nil
	}
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	verified, verdict := p.Judge(s)
	return verified, verdict, nil
}

func printVerdict(w io.Writer, v sync.Verdict) {
	for _, s := range v.Steps {
		fmt.Fprintf(w, "✓ %-24s %s\n", safe(s.What), safe(s.Fact))
	}
	if !v.Refused() {
		fmt.Fprintf(w, "accepted: %s %s (%s), signed by %s\n", v.Tip.Short(), safe(v.Subject), v.Name, safe(v.Signer))
		return
	}
	fmt.Fprintf(w, "✗ %s\n%s: %s\n", v.Commit.Short(), v.Name, safe(v.Reason))
	if v.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", safe(v.Hint))
	}
}

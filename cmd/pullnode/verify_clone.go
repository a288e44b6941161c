package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"pullnode/internal/durable"
	"pullnode/internal/registry"
	"pullnode/sync"
)

// cloneJudge judges commits of a clone by the same code as a node.
type cloneJudge struct {
	ctx    context.Context
	gitDir string
}

// after judges a tip as a node would whose T is the commit trusted: what was in
// force there is found from the introduction on.
func (c cloneJudge) after(trusted, tip string, p sync.Policy) (sync.Verdict, error) {
	id, err := gitIn(c.ctx, c.gitDir, "rev-parse", "--verify", "--quiet", trusted+"^{commit}")
	if err != nil {
		return sync.Verdict{}, usageError("the clone has no commit %q", trusted)
	}
	first, v, err := c.judge(id, p.Accepted())
	if err != nil {
		return v, err
	}
	if v.Refused() {
		v.Tip, v.Reason = sync.ID(tip), "no node accepts "+sync.ID(id).Short()+", which --trusted names: "+v.Reason
		return v, nil
	}
	var n nodeState
	n.accept(first)
	_, v, err = c.judge(tip, n.policy(p))
	return v, err
}

// nodeState is what a node remembers, for calls that follow each other.
type nodeState struct {
	Trusted   *sync.Trusted `json:"trusted,omitempty"`
	Ancestors []sync.ID     `json:"ancestors,omitempty"`
}

func (n *nodeState) check() (err error) {
	if n.Trusted == nil {
		return nil
	}
	for _, id := range slices.Concat([]sync.ID{n.Trusted.Commit}, n.Trusted.Parents, n.Ancestors) {
		if _, err = sync.ParseID(string(id)); err != nil {
			break
		}
	}
	return err
}

func (n *nodeState) accept(v sync.Verified) {
	t := v.Trusted()
	n.Trusted = &t
	n.Ancestors = append(n.Ancestors, v.NewAncestors()...)
	slices.Sort(n.Ancestors)
	n.Ancestors = slices.Compact(n.Ancestors)
}

func (n *nodeState) policy(p sync.Policy) sync.Policy {
	if n.Trusted == nil {
		return p
	}
	known := map[sync.ID]bool{}
	for _, id := range n.Ancestors {
		known[id] = true
	}
	p.Trusted, p.Ancestors = n.Trusted, func(id sync.ID) bool { return known[id] }
	return p
}

// withState judges as the node of the file would, and remembers what it accepts.
func (c cloneJudge) withState(path, tip string, p sync.Policy) (sync.Verdict, error) {
	var n nodeState
	raw, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(registry.Strict(raw, &n), n.check())
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return sync.Verdict{}, usageErr{fmt.Errorf("state %s: %w", path, err)}
	}
	verified, v, err := c.judge(tip, n.policy(p))
	if err != nil || v.Refused() || v.Name == sync.UpToDate && n.Trusted != nil {
		return v, err
	}
	n.accept(verified)
	if raw, err = json.Marshal(n); err != nil {
		return v, err
	}
	return v, durable.WriteFile(path, append(raw, '\n'), 0o600)
}

// judge makes the object stream of a tip and judges it.
func (c cloneJudge) judge(tip string, p sync.Policy) (sync.Verified, sync.Verdict, error) {
	return c.use(tip, p, nil)
}

// use does what judge does, and calls then with an accepted tip as long as its
// objects are there.
func (c cloneJudge) use(tip string, p sync.Policy, then func(sync.Verified) error) (sync.Verified, sync.Verdict, error) {
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
	refused := func(v sync.Verdict) (sync.Verified, sync.Verdict, error) {
		v.Tip, v.Trusted = sync.ID(tip), sync.ID(want.Trusted)
		if v.Commit == "" {
			v.Commit = v.Tip
		}
		return sync.Verified{}, v, nil
	}
	answer := filepath.Join(tmp, "answer")
	rep, err := streamClone(c.ctx, c.gitDir, tip, want, answer)
	switch {
	case err != nil:
		return sync.Verified{}, sync.Verdict{}, err
	case rep.Class == sync.OverLimit:
		return refused(sync.Verdict{Name: sync.Limit, Reason: rep.Text})
	case rep.Class == sync.BadData, rep.Class == sync.ServerError:
		// The server is git on this clone: what it cannot read is damaged.
		return refused(sync.Verdict{Name: sync.Malformed, Reason: rep.Text})
	case rep.Class != sync.Moved:
		return sync.Verified{}, sync.Verdict{}, errors.New(rep.Text)
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
		return refused(v)
	}
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	verified, verdict := p.Judge(s)
	if then != nil && !verdict.Refused() {
		err = then(verified)
	}
	return verified, verdict, err
}

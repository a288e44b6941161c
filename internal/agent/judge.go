package agent

import (
	"errors"

	"pullnode/internal/state"
	"pullnode/sync"
)

// verify judges the answer and moves T.
func (a *Agent) verify(want sync.Want) error {
	verified, verdict, err := a.examine(want, a.policy)
	if errors.Is(err, sync.ErrStale) {
		return nil // asked for again at the next poll
	}
	if err != nil {
		return err
	}
	a.status.Judged = true
	if err := a.judged(verified, verdict); err != nil {
		return err
	}
	if verdict.Refused() {
		return nil
	}
	if a.pending != nil && a.pending.verified.Commit().Digest == verified.Commit().Digest {
		return nil
	}
	a.pending = &pending{verified: verified, since: a.Now()}
	return nil
}

// examine reads and judges the answer to want.
func (a *Agent) examine(want sync.Want, policy func() (sync.Policy, error)) (sync.Verified, sync.Verdict, error) {
	stream, err := a.intake(want)
	if err != nil {
		if verdict, ok := sync.StreamVerdict(err); ok {
			return sync.Verified{}, verdict, nil
		}
		return sync.Verified{}, sync.Verdict{}, err
	}
	p, err := policy()
	if err != nil {
		return sync.Verified{}, sync.Verdict{}, err
	}
	v, verdict := p.Judge(stream)
	return v, verdict, nil
}

// introduced gives the policy of a node that has accepted nothing yet.
func (a *Agent) introduced() (p sync.Policy, err error) {
	if a.Config.HostName == "" {
		return p, errors.New("the settings have no hostName, so no deploy rule could decide")
	}
	p = sync.Policy{Revoked: a.Config.RevokedKeys, Host: a.Config.HostName}
	if p.Introduction, err = sync.ParseIntroduction(a.Config.Introduction); err != nil {
		return p, err
	}
	if a.Config.RecoveryKey != "" {
		p.Recovery, err = sync.KeyFingerprint(a.Config.RecoveryKey)
	}
	return p, err
}

func (a *Agent) policy() (sync.Policy, error) {
	p, err := a.introduced()
	if err != nil {
		return p, err
	}
	t := a.Store.State().Trusted
	switch {
	case t.Named:
		p.Introduction = sync.Named(sync.ID(t.Commit))
		return p, nil
	case t.Commit == "":
		return p, nil
	}
	p.Trusted = &sync.Trusted{Commit: sync.ID(t.Commit), Digest: sync.Digest(t.Digest), Policy: t.Policy, ResetSeq: t.ResetSeq}
	for _, id := range t.Parents {
		p.Trusted.Parents = append(p.Trusted.Parents, sync.ID(id))
	}
	if known, err := a.ancestors(t.Commit); err == nil {
		p.Ancestors = func(id sync.ID) bool { return known[id] }
	}
	return p, nil
}

// judged records a verdict and, when the tip was accepted, T. A refusal leaves T
// as it is, so it can never keep the genuine next commit out.
func (a *Agent) judged(v sync.Verified, verdict sync.Verdict) error {
	old := a.Store.State()
	if !verdict.Refused() {
		if err := a.addAncestors(old.Trusted.Commit, v); err != nil {
			return err
		}
	}
	err := a.Store.Update(func(s *state.State) error {
		s.KnownTip = string(verdict.Tip)
		s.Verdict = state.Verdict{Name: string(verdict.Name), Commit: string(verdict.Commit), Text: verdict.Reason, Hint: verdict.Hint, When: a.Now().UTC()}
		if verdict.Refused() || (verdict.Name == sync.UpToDate && s.Trusted.Commit != "" && !s.Trusted.Named) {
			return nil
		}
		t := v.Trusted()
		s.Trusted = state.Trusted{Commit: string(t.Commit), Digest: string(t.Digest), Policy: t.Policy, ResetSeq: t.ResetSeq, Signer: v.Signer()}
		for _, p := range t.Parents {
			s.Trusted.Parents = append(s.Trusted.Parents, string(p))
		}
		return nil
	})
	if err != nil || !verdict.Refused() {
		return err
	}
	a.Log.Warn("not accepted", "verdict", verdict.Name, "commit", verdict.Commit, "why", verdict.Reason)
	e := state.Entry{Time: a.Now().UTC(), Commit: string(verdict.Commit), Subject: verdict.Subject,
		Result: state.ResultRefused, Why: string(verdict.Name) + ": " + verdict.Reason}
	if verdict.Waits() {
		e.Result, e.Why = state.ResultPending, verdict.Reason
	}
	return a.Store.Append(e)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pullnode/internal/state"
	"pullnode/sync"
)

// trust begins anew with a commit that root has named: T is forgotten, and the
// next tip must descend from that commit or be it. It is how a node goes on whose
// state cannot be read any more, or whose history was rewritten on purpose.
func (a *Agent) trust(r Request) error {
	id, err := sync.ParseID(r.Commit)
	if err != nil {
		return err
	}
	if r.Reason == "" {
		return errors.New("no reason was given")
	}
	if a.Store.State().Attempt != nil {
		return errors.New("a try is under way")
	}
	change := a.Store.Update
	if errors.Is(a.Store.Blocked(), state.ErrUnreadable) {
		change = a.Store.StartOver
	}
	err = change(func(s *state.State) error {
		s.Trusted = state.Trusted{Commit: string(id), Named: true}
		s.KnownTip, s.Verdict, s.Failure = "", state.Verdict{}, state.Failure{}
		return nil
	})
	if err != nil {
		return err
	}
	a.pending, a.lost, a.status.Judged = nil, lost{}, false
	a.Log.Warn("trust begins anew", "commit", id, "reason", r.Reason)
	return a.Store.Append(state.Entry{Time: a.Now().UTC(), Commit: string(id), Result: state.ResultTrusted, Why: r.Reason})
}

// lost is what an agent knows that can read none of its state: it goes on asking,
// so that status can show what there is, and deploys nothing.
type lost struct {
	verdict sync.Verdict // of the newest tip, judged from the introduction
	failure state.Failure
}

// look asks and judges, only to show it. It gives the time to the next poll.
func (a *Agent) look(ctx context.Context) time.Duration {
	intro, err := sync.ParseIntroduction(a.Config.Introduction)
	if err != nil {
		return a.lookFailed("state", err.Error(), 0)
	}
	// The numbers of requests are lost too. The clock's are above all of them.
	w := a.request(uint64(a.Now().UnixNano()))
	w.Trusted, w.Ancestry, w.Known = string(intro.Commit), true, string(a.lost.verdict.Tip)
	rep, err := a.Fetcher.Ask(ctx, w)
	if err != nil {
		return a.lookFailed(string(sync.Internal), "the fetching process did not answer: "+err.Error(), 0)
	}
	a.status.Remote, a.status.Protocol = rep.Remote, rep.Protocol
	switch rep.Class {
	case sync.Unchanged:
	case sync.Moved:
		_, v, err := a.examine(w, a.introduced)
		if err != nil {
			return a.lookFailed("answer", err.Error(), 0)
		}
		a.lost.verdict = v
	default:
		return a.lookFailed(string(rep.Class), rep.Text, rep.RetryAfter)
	}
	a.status.Polled, a.lost.failure = a.Now(), state.Failure{}
	return a.interval()
}

func (a *Agent) lookFailed(class, text string, after time.Duration) time.Duration {
	a.lost.failure = state.Failure{Class: class, Text: text, Count: a.lost.failure.Count + 1}
	a.Log.Warn("poll failed", "class", class, "err", text, "count", a.lost.failure.Count)
	return a.backoff(a.lost.failure.Count, after)
}

// showLost is gather's part for a state that cannot be read.
func (st *Status) showLost(l lost) {
	if l.failure.Count > 0 {
		st.Failure = &l.failure
	}
	st.Hint = "pullnode trust COMMIT --reason TEXT, with the newest commit that you know to be good"
	v := l.verdict
	if v.Tip == "" {
		return
	}
	st.Wanted, st.Verdict = &Commit{ID: string(v.Tip), Subject: v.Subject, Signer: v.Signer}, string(v.Name)
	if v.Refused() {
		st.Why = append(st.Why, fmt.Sprintf("the tip %s would not do: %s", v.Tip.Short(), v.Reason))
		return
	}
	st.Hint = fmt.Sprintf("if %s is the newest commit that you know: pullnode trust %s --reason TEXT", v.Tip.Short(), v.Tip)
}

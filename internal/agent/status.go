package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"pullnode/activate"
	"pullnode/internal/state"
	"pullnode/sync"
)

// Status is everything that pullnode status shows, without any secret. It is
// written to a file that everybody may read, so that status works with the agent
// dead.
type Status struct {
	Host      string         `json:"host"`
	Operation string         `json:"operation"`
	Pid       int            `json:"pid"`
	Started   time.Time      `json:"started"`
	Written   time.Time      `json:"written"`
	Phase     string         `json:"phase,omitempty"` // what it is doing now
	Sync      string         `json:"sync"`            // in-sync, behind, pending, refused, held, failed, suspended, starting, stopped
	Health    string         `json:"health"`          // healthy, checking, reverted, stuck, unknown
	Branch    string         `json:"branch"`
	Remote    string         `json:"remote,omitempty"`
	Protocol  string         `json:"protocol,omitempty"`
	Polled    time.Time      `json:"polled,omitzero"` // last poll that was answered
	Next      time.Time      `json:"next,omitzero"`
	Wanted    *Commit        `json:"wanted,omitempty"` // the tip, where it is not what runs
	Running   *Commit        `json:"running,omitempty"`
	Toplevel  string         `json:"toplevel,omitempty"`
	Gen       int            `json:"generation,omitempty"`
	Why       []string       `json:"why,omitempty"`
	Hint      string         `json:"hint,omitempty"`
	Verdict   string         `json:"verdict,omitempty"`
	Failure   *state.Failure `json:"failure,omitempty"`
	Held      string         `json:"held,omitempty"`
	Alerts    []string       `json:"alerts,omitempty"`
	Request   string         `json:"request,omitempty"` // why the last request was not carried out

	// Judged says that this process has seen the tip.
	Judged bool `json:"-"`
	// BuildHint says what would help the commit that gave no system.
	BuildHint string `json:"-"`
}

// Commit is a commit as people see it.
type Commit struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject,omitempty"`
	Signer  string    `json:"signer,omitempty"`
	When    time.Time `json:"when,omitzero"`
}

// StatusPath is where the status is in a run directory.
func StatusPath(run string) string { return filepath.Join(run, "status.json") }

// show writes the status; next is the time to the next poll, 0 while something
// is under way. What cannot be shown is no reason to stop working.
func (a *Agent) show(ctx context.Context, next time.Duration) {
	st := a.gather(ctx)
	if next > 0 {
		st.Next = a.Now().Add(next).UTC()
	}
	raw, err := json.MarshalIndent(st, "", "  ")
	if err == nil {
		// /run is gone after a power cut, so atomic is enough here.
		tmp := StatusPath(a.Dirs.Run) + ".tmp"
		if err = os.WriteFile(tmp, append(raw, '\n'), 0o644); err == nil {
			err = os.Rename(tmp, StatusPath(a.Dirs.Run))
		}
	}
	if err != nil {
		a.Log.Error("status", "err", err)
	}
	a.tell(st)
}

// progress shows each phase of a try.
func (a *Agent) progress(ctx context.Context, at activate.Attempt) {
	a.status.Phase = string(at.Phase)
	a.show(ctx, 0)
}

func (a *Agent) gather(ctx context.Context) Status {
	st, s := a.status, a.Store.State()
	st.Host, st.Operation, st.Branch, st.Pid = a.Config.HostName, string(a.Config.Operation), a.Config.Branch, os.Getpid()
	st.Written = a.Now().UTC()
	st.Alerts = append(st.Alerts, a.Store.Alerts()...)
	st.Sync, st.Health = "starting", "unknown"
	if why := a.Store.Blocked(); why != nil {
		f, _ := a.System.Facts(ctx)
		st.showStopped(why, f, a.lost)
		return st
	}
	list, err := a.Store.History(200)
	if err != nil {
		a.Log.Error("history", "err", err)
	}
	known := past(list)
	if d := s.Deployed; d.Commit != "" {
		st.Running = known.commit(d.Commit)
		st.Running.When, st.Toplevel, st.Gen = d.When, d.Toplevel, d.Generation
		st.Health = "healthy"
	}
	astray := false
	if f, err := a.System.Facts(ctx); err == nil && f.Running != "" {
		st.Toplevel = string(f.Running)
		astray = a.astray(f, activate.StorePath(s.Deployed.Toplevel))
	}
	if s.Failure.Count > 0 {
		f := s.Failure
		st.Failure = &f
	}
	if s.Verdict.Name == "" {
		return st
	}
	st.Verdict, st.Hint = s.Verdict.Name, s.Verdict.Hint
	if s.Verdict.Commit != s.Deployed.Commit {
		st.Wanted = known.commit(s.Verdict.Commit)
	}
	last := known.last(s.Verdict.Commit)
	switch {
	case s.Attempt != nil:
		st.Sync, st.Health = "behind", "checking"
	case s.Suspended || a.suspended():
		st.Sync, st.Why = "suspended", []string{"deploys nothing until resume"}
		if s.SuspendedUntil != nil {
			st.Why = []string{"deploys nothing until " + s.SuspendedUntil.UTC().Format("2006-01-02 15:04 UTC")}
		}
	case s.Verdict.Name == string(sync.Pending):
		st.Sync, st.Why = "pending", []string{s.Verdict.Text}
	case s.Verdict.Name != "DEPLOY" && s.Verdict.Name != "UP-TO-DATE":
		st.Sync, st.Why = "refused", []string{s.Verdict.Text}
	case s.Hold != nil:
		st.Sync, st.Why = "held", []string{s.Hold.Why}
	case s.Verdict.Commit == s.Deployed.Commit && astray:
		st.Sync, st.Why = "behind", []string{st.Toplevel + " runs, which is not what was deployed"}
	case s.Verdict.Commit == s.Deployed.Commit:
		st.Sync = "in-sync"
	case last.Result == state.ResultReverted:
		st.Sync, st.Health, st.Why = "held", "reverted", []string{last.Why}
	case last.Result == state.ResultStuck:
		st.Sync, st.Health, st.Why = "held", "stuck", []string{last.Why}
	case last.Result == state.ResultNeedsReboot:
		st.Sync, st.Why, st.Hint = "held", []string{last.Why}, rebootHint(last.Toplevel)
	case last.Result == state.ResultFailed || last.Result == state.ResultRefused:
		st.Sync, st.Why, st.Hint = "failed", []string{last.Why}, st.BuildHint
	default:
		st.Sync = "behind"
		if last.Why != "" {
			st.Why = []string{last.Why}
		}
	}
	return st
}

// past is the newest part of the history, read once for a status.
type past []state.Entry

// commit gives what the history knows of a commit.
func (p past) commit(id string) *Commit {
	e := p.last(id)
	return &Commit{ID: id, Subject: e.Subject, Signer: e.Signer, When: e.Time}
}

// last gives the newest entry of a commit, the zero one when there is none.
func (p past) last(id string) state.Entry {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i].Commit == id {
			return p[i]
		}
	}
	return state.Entry{}
}

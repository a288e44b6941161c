package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"pullnode/internal/agent"
	"pullnode/sync"
)

// facts prints two columns, and what belongs to a fact in a third.
type facts struct{ w io.Writer }

func (f facts) row(name, what, more string) {
	if what == "" {
		return
	}
	for i, l := range strings.Split(strings.TrimSpace(what), "\n") {
		if i > 0 {
			name, more = "", ""
		}
		fmt.Fprintln(f.w, strings.TrimRight(fmt.Sprintf("  %-8s %-40s  %s", name, safe(l), safe(more)), " "))
	}
}

func (f facts) commit(name string, c *agent.Commit, branch string, now time.Time) {
	if c == nil || c.ID == "" {
		return
	}
	more := branch
	if c.Signer != "" {
		more += ", signed by " + c.Signer
	}
	if !c.When.IsZero() {
		more += ", " + ago(now, c.When)
	}
	f.row(name, short(c.ID)+"  "+c.Subject, more)
}

// printStatus prints one verdict line, the facts, and last what to do.
func printStatus(w io.Writer, s agent.Status, now time.Time, alive bool) {
	mark := "●"
	if !well(s) {
		mark = "✗"
	}
	verdict := strings.ReplaceAll(s.Sync, "-", " ")
	if s.Health == "reverted" || s.Health == "stuck" {
		verdict = s.Health
	}
	life := "not running, last seen " + ago(now, s.Written)
	if alive {
		life = fmt.Sprintf("running %s, pid %d", span(now.Sub(s.Started)), s.Pid)
	}
	fmt.Fprintf(w, "%s %-48s  %s\n", mark, safe(s.Host)+"  "+verdict, life)
	f := facts{w}
	if s.Wanted == nil {
		f.commit("commit", s.Running, s.Branch, now)
	} else {
		f.commit("wanted", s.Wanted, s.Branch, now)
		f.commit("running", s.Running, s.Branch, now)
	}
	if s.Gen > 0 {
		f.row("system", fmt.Sprintf("generation %d", s.Gen), s.Operation)
	} else if s.Toplevel != "" {
		f.row("system", s.Toplevel[strings.LastIndexByte(s.Toplevel, '/')+1:], s.Operation)
	}
	f.row("health", s.Health, "")
	f.row("doing", s.Phase, "")
	if s.Sync == "refused" {
		f.row("verdict", s.Verdict, "")
	}
	f.row("why", strings.Join(s.Why, "\n"), "")
	if s.Failure != nil {
		f.row("remote", s.Failure.Class+": "+s.Failure.Text, times(s.Failure.Count))
	}
	f.row("request", s.Request, "")
	if !s.Next.IsZero() && alive {
		f.row("next", "poll in "+span(s.Next.Sub(now)), "")
	}
	foot(w, s)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// failureHints says what to do about a remote that does not answer, by the class
// of the failure; docs/recovery.md has the same words.
var failureHints = map[string]string{
	string(sync.Unreachable):   "look at the server and at the node's network and DNS, or add a mirror to remotes",
	string(sync.TimedOut):      "it is asked again; for a big first fetch over a slow line raise fetch.timeout",
	string(sync.TLSFailed):     "put the server's certificate right, and look at the node's clock",
	string(sync.AuthFailed):    "renew the token in auth.tokenFile or the key in auth.keyFile",
	string(sync.HostKey):       "ask the server's operators, and only then change auth.hostKey",
	string(sync.NotFound):      "put url right; some forges say 404 where they mean 401",
	string(sync.Throttled):     "the node waits as long as it was told, at most 24 h; a longer schedule.interval helps",
	string(sync.ServerError):   "it is asked again; if it stays, ask the server's operators",
	string(sync.MissingBranch): "push it, or put branch right",
	string(sync.EmptyRepo):     "push; if it was not empty before, ask who emptied it",
	string(sync.BadData):       "it is asked again; if it stays: git fsck on the server",
	string(sync.OverLimit):     "raise fetch.maxPack, fetch.maxMem or fetch.maxFiles, after a look at what grew",
	string(sync.NoSpace):       "free space: nix-collect-garbage -d",
	string(sync.Internal):      "look at the log: journalctl -u pullnode -u pullnode-sync",
	"answer":                   "look at the log: journalctl -u pullnode -u pullnode-sync",
	"state":                    "pullnode doctor says what is wrong with the state directory",
}

// foot says what to do next.
func foot(w io.Writer, s agent.Status) {
	var next []string
	switch {
	case s.Health == "reverted" && s.Wanted != nil:
		next = append(next, fmt.Sprintf("%s won't be tried again. Push a fix, or: pullnode retry %s", short(s.Wanted.ID), short(s.Wanted.ID)))
	case s.Health == "stuck":
		next = append(next, "reboot: the boot default is still the old system; docs/recovery.md")
	case s.Sync == "suspended":
		next = append(next, "to go on: pullnode resume")
	case s.Hint != "" && !well(s):
		next = append(next, s.Hint)
	}
	if s.Failure != nil && failureHints[s.Failure.Class] != "" {
		next = append(next, failureHints[s.Failure.Class])
	}
	if len(next) > 0 {
		fmt.Fprintln(w)
	}
	for _, l := range next {
		fmt.Fprintln(w, "  "+safe(l))
	}
	for _, a := range s.Alerts {
		fmt.Fprintf(w, "! %s\n", safe(a))
	}
}

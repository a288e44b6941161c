package lab

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// death is who dies when.
type death struct {
	who   string // a unit, a pattern of units, or "power"
	phase string // of the try, or "building"
	bad   bool   // the candidate is ill, so that it is put back
}

var deaths = []death{
	{who: "pullnode.service", phase: "building"}, {who: "pullnode-sync.service", phase: "building"},
	{who: "pullnode-eval-*", phase: "building"}, {who: "pullnode-build-*", phase: "building"},
	{who: "nix-daemon.service", phase: "building"},
	{who: "pullnode.service", phase: "prepared"}, {who: "power", phase: "prepared"},
	{who: "pullnode.service", phase: "armed"}, {who: "power", phase: "armed"},
	{who: "pullnode.service", phase: "trying"}, {who: "pullnode-sync.service", phase: "trying"},
	{who: "pullnode-switch-*", phase: "trying"}, {who: "power", phase: "trying"},
	{who: "pullnode.service", phase: "checking"}, {who: "pullnode-sync.service", phase: "checking"},
	{who: "pullnode-lifeline-*", phase: "checking"}, {who: "power", phase: "checking"},
	{who: "pullnode.service", phase: "committing"}, {who: "pullnode-boot-*", phase: "committing"}, {who: "power", phase: "committing"},
	{who: "pullnode.service", phase: "reverting", bad: true}, {who: "pullnode-switch-*-revert*", phase: "reverting", bad: true},
	{who: "power", phase: "reverting", bad: true},
	{who: "pullnode.service", phase: "judging", bad: true}, {who: "power", phase: "judging", bad: true},
}

// TestKill kills each process in turn, and the machine, in every phase of a try.
// What must hold each time: no try is left, what runs is also what boots and is
// either the old or the new system, an ill one never, nobody holds the death
// against a good system, and the node takes the next commit. A machine that is
// killed keeps its page cache, so this says nothing of what a disk loses.
func TestKill(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newNode(t, release)
		for _, d := range deaths {
			n.sub(d.who+" "+d.phase, func(n *node) { n.dies(d) })
		}
		n.deployed(n.push(Config{}, "and the node goes on"))
	})
}

func (n *node) dies(d death) {
	n.t.Helper()
	before, err := n.h.Current(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	c := Config{}
	if d.bad {
		c.Mode = "badunit"
	}
	commit, cand := "", ""
	for struck := false; !struck; { // a phase can be over before it was seen
		commit = n.push(c, d.who+" dies "+d.phase)
		cand, struck = n.strike(d, commit)
	}
	if d.who == "power" {
		if err := n.h.Start(n.ctx); err != nil {
			n.t.Fatal(err)
		}
	}
	n.until("the end of the try", func() bool {
		s := n.state()
		return s.Request != 0 && s.Attempt == nil && slices.Contains([]string{"in-sync", "held", "behind", "failed"}, n.status().Sync) &&
			n.status().Phase == ""
	})
	s := n.state()
	running, err := n.h.Current(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	if def, err := n.h.BootDefault(); err != nil || def != running {
		n.t.Errorf("%s runs, %s boots, %v", running, def, err)
	}
	if running != before && (d.bad || s.Deployed.Commit != commit) {
		n.t.Errorf("%s runs, deployed is %s", running, s.Deployed.Commit)
	}
	if q, ok := s.Quarantine[cand]; ok && !d.bad {
		n.t.Errorf("a good system is held: %s", q.Reason)
	}
	n.t.Logf("%s: %s", n.status().Sync, strings.Join(n.status().Why, "; "))
}

// strike kills in the phase of the commit's try. It is false when the try was over
// before, and gives the candidate where there was one.
func (n *node) strike(d death, commit string) (candidate string, struck bool) {
	n.t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		switch at := n.state().Attempt; {
		case at == nil && d.phase == "building":
			if strings.HasPrefix(n.status().Phase, "building "+d.who) && n.kill(d.who) {
				return "", true
			}
		case at == nil && candidate != "":
			return candidate, false
		case at == nil || at.Commit != commit:
		case at.Phase == d.phase && n.kill(d.who):
			return at.Candidate, true
		default:
			candidate = at.Candidate
		}
	}
	n.t.Fatalf("never happened: %s dies %s", d.who, d.phase)
	return "", false
}

// kill kills every process of the units, or the machine, and says whether there
// were any. It runs here, not in the machine, to lose no time.
func (n *node) kill(who string) bool {
	n.t.Helper()
	if who == "power" {
		if err := n.h.Kill9(); err != nil {
			n.t.Fatal(err)
		}
		return true
	}
	pids, err := n.h.group.procs(who)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(pids) > 0
}

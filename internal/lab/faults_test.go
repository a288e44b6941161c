package lab

import (
	"testing"
	"time"
)

// TestBrokenAgent tries systems whose pullnode never gets ready. Nobody confirms
// them, so the guard puts the old system back at its time, and the old agent says
// so and takes the fix.
func TestBrokenAgent(t *testing.T) {
	for name, c := range map[string]struct{ start, sync, why string }{
		"exits":         {"/bin/false", "behind", "runs, not the candidate"},
		"hangs":         {"/bin/sleep infinity", "held", "the switch was ended by timeout"}, // it waits for the unit
		"hangs when up": {"/bin/sh -c 'systemd-notify --ready; sleep infinity'", "behind", "runs, not the candidate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they mostly wait for the guard
			each(t, func(t *testing.T, release string) {
				n := newNode(t, release)
				before, err := n.h.Current(n.ctx)
				if err != nil {
					t.Fatal(err)
				}
				sys := n.system(Config{})
				sys.Units["pullnode.service.d/broken.conf"] = "[Service]\nNotifyAccess=all\nExecStart=\nExecStart=" + c.start + "\n"
				commit := n.push(sys, "an agent that "+name)
				n.until("the switch", func() bool { a := n.state().Attempt; return a != nil && a.Phase == "trying" })
				n.within(10*time.Minute, "the guard", func() bool {
					now, err := n.h.Current(n.ctx)
					return err == nil && now == before && n.state().Attempt == nil
				})
				n.says(c.sync, commit, c.why)
				n.untouched()
				n.deployed(n.push(Config{}, "the fix"))
			})
		})
	}
}

// TestLostNetwork tries a system that takes the network down: the lifeline sees
// it, and the old system brings the network back. One such try could be an
// accident of the network, so nothing is held against the system yet.
func TestLostNetwork(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newNode(t, release)
		commit := n.push(Config{Mode: "netcut"}, "no network")
		n.until("the end of the try", func() bool {
			i, ok := n.state().Inconclusive[n.candidate(commit)]
			return ok && i.Strikes == 1
		})
		n.says("behind", commit, "no remote can be reached")
		n.untouched()
		// The same a second time is none.
		run(n.ctx, t, n.h, "pullnode", "sync")
		n.within(5*time.Minute, "the second try", func() bool {
			_, ok := n.state().Quarantine[n.candidate(commit)]
			return ok
		})
		n.untouched()
		n.deployed(n.push(Config{}, "the network stays"))
	})
}

// TestSlowSync has the switch restart the agent on a disk so slow that each sync
// of a file takes a second and each of a filesystem ten. The new agent must say
// that it is ready before it waits for any of them, or the switch, which waits for
// it, and it would wait for each other.
func TestSlowSync(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newNode(t, release)
		c := n.system(n.set(Config{}, n.with("health.window", "60s")))
		c.Units["pullnode.service.d/slow.conf"] = "[Service]\nNotifyAccess=all\nSystemCallFilter=\nExecStart=\n" +
			"ExecStart=strace -D -f -qqq -o /dev/null -e trace=none -e inject=fsync:delay_enter=1000000 -e inject=syncfs:delay_enter=10000000 " +
			"pullnode run --config /etc/pullnode/pullnode.json\n"
		commit := n.push(c, "a slow disk")
		n.within(10*time.Minute, "in sync", func() bool {
			s := n.status()
			return s.Sync == "in-sync" && s.Running != nil && s.Running.ID == commit
		})
		n.now = commit
		n.settled()
		if got := property(n.ctx, t, n.h, "pullnode.service", "NRestarts"); got != "0" {
			t.Errorf("the agent was restarted %s times", got)
		}
		if out := run(n.ctx, t, n.h, "pgrep", "-c", "strace"); out == "0" {
			t.Error("nothing slowed the agent down")
		}
		n.deployed(n.push(Config{}, "a good disk"))
	})
}

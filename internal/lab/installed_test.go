package lab

import (
	"fmt"
	"strings"
	"testing"
)

// TestInstalledNode is the main job through all layers as installed, sandboxed
// units: deploy, refuse, put back, deploy again, leave alone what is not ours.
func TestInstalledNode(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newNode(t, release)
		n.sub("deploy", func(n *node) { n.deployed(n.push(Config{}, "a second system")) })
		n.sub("refuse", refuses)
		n.sub("failing unit and git revert", func(n *node) {
			n.putBack(n.push(Config{Mode: "badunit"}, "a unit that fails"), "broken.service")
			n.r.Git("revert", "-n", "HEAD")
			n.deployed(n.r.Commit("alice", "Revert"))
		})
		n.sub("nothing refuses the way back", wayBack)
		n.sub("checks", checks)
		n.sub("crash loop", func(n *node) {
			c := n.set(Config{Mode: "flap"}, n.with("health.successes", 20))
			n.putBack(n.push(c, "a service that crashes every two seconds"), "flap.service was restarted")
		})
		n.sub("remote restarted during the checks", remoteRestarted)
		n.sub("own units", ownUnits)
		n.sub("planted files", planted)
		n.sub("manual rebuild", manualRebuild)
		n.sub("decision race", decisionRace)
		n.sub("retire", retire) // the last: there is no node after it
	})
}

func refuses(n *node) {
	n.refused(n.pushAs("", Config{}, "unsigned"), "UNSIGNED")
	n.r.Git("reset", "-q", "--hard", n.now)
	n.refused(n.pushAs("mallory", Config{}, "unknown key"), "UNKNOWN-KEY")
	n.r.Git("reset", "-q", "--hard", n.now)
	older := n.r.Git("rev-parse", "HEAD~1")
	n.r.Git("reset", "-q", "--hard", older)
	n.refused(older, "ROLLBACK")
	n.r.Git("reset", "-q", "--hard", n.now)
	n.deployed(n.push(Config{}, "signed again"))
}

// wayBack: the pre-switch check of the system that ran before would refuse it now.
func wayBack(n *node) {
	n.deployed(n.push(Config{Mode: "strict"}, "with a check of its own"))
	if err := n.h.Write("/run/no-switch", nil); err != nil {
		n.t.Fatal(err)
	}
	n.putBack(n.push(Config{Mode: "badunit"}, "a unit that fails"), "broken.service")
	run(n.ctx, n.t, n.h, "rm", "/run/no-switch")
	n.deployed(n.push(Config{}, "without a check"))
}

// checks: a check that the candidate brings decides at once; one that fails on
// the old system too proves nothing.
func checks(n *node) {
	web := n.with("health.checks", map[string]any{"web": map[string]any{"type": "http", "url": n.web.url("/healthz")}})
	n.web.setIll(true)
	n.putBack(n.push(n.set(Config{}, web), "a new check that fails"), "check web")
	n.web.setIll(false)
	n.settings = web
	n.deployed(n.push(Config{}, "a new check that is well"))

	commit := n.push(Config{Mode: "slow"}, "what all use fails during the switch")
	n.until("the switch", func() bool { a := n.state().Attempt; return a != nil && a.Phase == "trying" })
	n.web.setIll(true)
	n.until("the end of the try", func() bool {
		i, ok := n.state().Inconclusive[n.candidate(commit)]
		return ok && strings.Contains(i.Reason, "fails on the old system too")
	})
	if q := n.state().Quarantine[n.candidate(commit)]; q.Reason != "" {
		n.t.Errorf("quarantined: %s", q.Reason)
	}
	n.untouched()
	n.web.setIll(false)
	n.deployed(n.push(Config{}, "all is well again"))
}

// candidate gives the system that the last commit was evaluated to, from the
// history or the try under way.
func (n *node) candidate(commit string) string {
	s := n.state()
	if s.Attempt != nil && s.Attempt.Commit == commit {
		return s.Attempt.Candidate
	}
	for top, i := range s.Inconclusive {
		if i.Commit == commit {
			return top
		}
	}
	for top, q := range s.Quarantine {
		if q.Commit == commit {
			return top
		}
	}
	return ""
}

func remoteRestarted(n *node) {
	c := n.set(Config{}, n.with("health.settle", "2s"))
	before := len(n.state().Quarantine) + len(n.state().Inconclusive)
	commit := n.push(c, "the remote restarts during the checks")
	n.until("the checks", func() bool { a := n.state().Attempt; return a != nil && a.Phase == "checking" })
	n.web.down()
	run(n.ctx, n.t, n.h, "sleep", "4") // past settle: the lifeline asks
	n.web.up()
	n.deployed(commit)
	if s := n.state(); len(s.Quarantine)+len(s.Inconclusive) != before {
		n.t.Errorf("held against it: %v, %v", s.Quarantine, s.Inconclusive)
	}
}

// ownUnits: the switch replaces agent and fetching process by programs at other
// places, and it is the new agent that keeps the new system.
func ownUnits(n *node) {
	bin, err := GoBinary(n.ctx, "pullnode/cmd/pullnode")
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.h.Copy(bin, "/opt/two/pullnode"); err != nil {
		n.t.Fatal(err)
	}
	c := n.system(Config{})
	for _, u := range []string{"pullnode.service", "pullnode-sync.service"} {
		c.Units[u] = strings.Replace(c.Units[u], "ExecStart=pullnode ", "ExecStart=/opt/two/pullnode ", 1)
	}
	n.deployed(n.push(c, "pullnode itself changes"))
	for _, u := range []string{"pullnode.service", "pullnode-sync.service"} {
		pid := property(n.ctx, n.t, n.h, u, "MainPID")
		if exe := run(n.ctx, n.t, n.h, "readlink", "/proc/"+pid+"/exe"); exe != "/opt/two/pullnode" {
			n.t.Errorf("%s runs %s", u, exe)
		}
		if log := run(n.ctx, n.t, n.h, "journalctl", "-o", "cat", "_PID="+pid); u == "pullnode.service" && !strings.Contains(log, "outcome=kept") {
			n.t.Errorf("the new agent did not keep the system:\n%s", log)
		}
	}
	n.deployed(n.push(Config{}, "and back"))
}

// manualRebuild: somebody else's system stays until a commit with another one,
// or resume.
func manualRebuild(n *node) {
	switchTo := func(gen string) string {
		top := build(n.ctx, n.t, n.h, n.system(Config{Gen: gen}))
		run(n.ctx, n.t, n.h, "nix-env", "-p", "/nix/var/nix/profiles/system", "--set", top)
		if got := do(n.ctx, n.t, n.h, top, "switch"); got != 0 {
			n.t.Fatalf("switch by hand: %d", got)
		}
		n.until("held", func() bool {
			s := n.status()
			return s.Sync == "held" && strings.Contains(strings.Join(s.Why, " "), top)
		})
		run(n.ctx, n.t, n.h, "sleep", "3") // several polls
		is(n.ctx, n.t, n.h, top)
		return top
	}
	switchTo("by-hand")
	run(n.ctx, n.t, n.h, "pullnode", "resume")
	n.deployed(n.now)
	top := switchTo("by-hand-again")
	n.r.Commit("alice", "a text for people, the same system")
	run(n.ctx, n.t, n.h, "sleep", "4")
	is(n.ctx, n.t, n.h, top)
	n.deployed(n.push(Config{}, "another system"))
}

// decisionRace: of two processes that decide at once exactly one is right. The
// race inside one process runs in package activate.
func decisionRace(n *node) {
	const races = 1000
	out := run(n.ctx, n.t, n.h, "sh", "-euc", `
		mkdir -p /run/race; i=0; confirmed=0
		while [ $i -lt $0 ]; do
			pullnode decide --dir /run/race $i confirm 2>/dev/null & a=$!
			pullnode decide --dir /run/race $i revert 2>/dev/null & b=$!
			ra=0; wait $a || ra=$?; rb=0; wait $b || rb=$?
			case "$ra$rb$(cat /run/race/decision-$i)" in
			01confirm) confirmed=$((confirmed + 1)) ;;
			10revert) ;;
			*) echo "race $i: $ra $rb $(cat /run/race/decision-$i)" ;;
			esac
			i=$((i + 1))
		done
		rm -r /run/race; echo "$i $confirmed"`, fmt.Sprint(races))
	var ran, confirmed int
	if _, err := fmt.Sscan(out, &ran, &confirmed); err != nil || ran != races {
		n.t.Fatal(out)
	}
	n.t.Logf("%d races, confirm won %d", ran, confirmed)
}

// retire: a system without pullnode is refused unless the commit means it.
func retire(n *node) {
	c := n.system(Config{Mode: "noagent"})
	commit := n.push(c, "a system without pullnode")
	s := n.about("failed", commit)
	if why := strings.Join(s.Why, " "); !strings.Contains(why, "Pullnode-Retire: lab") {
		n.t.Errorf("refused with %q", why)
	}
	n.untouched()
	n.deployed(n.r.Commit("alice", "the same system, and this is meant\n\nPullnode-Retire: lab"))
	if err := n.h.Reboot(n.ctx); err != nil {
		n.t.Fatal(err)
	}
	if got := property(n.ctx, n.t, n.h, "pullnode.service", "LoadState"); got != "not-found" {
		n.t.Errorf("after retiring pullnode.service is %s", got)
	}
}

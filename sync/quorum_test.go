package sync_test

import (
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

const teamPolicy = `# who may do what
group ops  alice bob
group dev  carol @ops
group bots bot
admin  ops need 2
deploy prod-*  ops need 2
deploy stage-* dev bots
`

// team is a repository with people, a bot and rules.
func team(t *testing.T) (*gitrig.Repo, *node) {
	r := gitrig.New(t)
	r.Signers("alice", "bob", "carol", "bot")
	r.Write(sync.RulesPath, teamPolicy)
	intro := r.Commit("alice", "introduce")
	n := newNode(t, r, intro, "alice")
	n.policy.Host = "stage-1"
	n.accept(intro)
	return r, n
}

// as gives a node with the same T for another host.
func (n *node) as(host string) *node {
	m := *n
	m.policy.Host = host
	return &m
}

func TestDeployNeedsTheHostsQuorum(t *testing.T) {
	r, stage := team(t)
	prod := stage.as("prod-1")
	r.Write("a", "1")
	tip := r.Commit("carol", "a change")
	prod.refuse(tip, sync.Pending, "0 of 2 signatures to deploy prod-1")
	stage.as("db").refuse(tip, sync.PolicyBad, "no deploy rule")
	stage.accept(tip)
	prod.refuse(r.Commit("alice", "Approve"), sync.Pending, "1 of 2")
	prod.refuse(r.Commit("alice", "Approve again"), sync.Pending, "so far alice") // A16: one person twice
	approved := r.Commit("bob", "Approve")
	prod.accept(approved)
	stage.accept(approved)

	// A17: an approval that changes the tree approves nothing but itself.
	r.Write("a", "2")
	r.Commit("carol", "another change")
	r.Commit("alice", "Approve")
	r.Write("a", "3")
	prod.refuse(r.Commit("bob", "Approve"), sync.Pending, "1 of 2")
}

// A39: what waits moves nothing, so that its signer cannot keep the genuine next
// commit out.
func TestPendingDoesNotWedge(t *testing.T) {
	r, stage := team(t)
	prod := stage.as("prod-1")
	base := r.Head()
	r.Write("a", "fork")
	prod.refuse(r.Commit("carol", "only for staging"), sync.Pending, "")
	r.Git("reset", "-q", "--hard", base)
	r.Write("a", "genuine")
	r.Commit("alice", "genuine")
	tip := r.Commit("bob", "Approve")
	prod.accept(tip)
	// Nor does an empty commit on what was accepted move it.
	prod.refuse(r.Commit("alice", "empty"), sync.Pending, "1 of 2")
}

func TestPolicyChangesByTheOldQuorum(t *testing.T) {
	r, n := team(t)
	r.Write(sync.RulesPath, strings.Replace(teamPolicy, "admin  ops need 2", "admin  dev", 1))
	n.refuse(r.Commit("carol", "make me admin"), sync.Pending, "0 of 2 signatures to change .pullnode") // A11
	n.refuse(r.Commit("alice", "Approve"), sync.Pending, "1 of 2")                                      // A12
	r.Write("a", "1")
	n.refuse(r.Commit("bob", "on another tree"), sync.Pending, "1 of 2")
	ok := r.Commit("alice", "Approve")
	n.accept(ok)
	r.Write(sync.RulesPath, teamPolicy) // carol alone may change it now
	n.accept(r.Commit("carol", "and back"))

	r.Git("reset", "-q", "--hard", ok)
	m := newNode(t, r, r.Git("rev-list", "--max-parents=0", "HEAD"), "alice")
	m.accept(ok)
	for text, say := range map[string]string{ // A15, and what is not known
		strings.Replace(teamPolicy, "admin  ops need 2", "admin ops need 3", 1): "only 2 of ops can sign",
		strings.Replace(teamPolicy, "admin  ops need 2", "", 1):                 "no admin line",
		teamPolicy + "heartbeat 14d bot\n":                                      `unknown word "heartbeat"`,
		teamPolicy + "deploy * nobody\n":                                        "only 0 of nobody",
		teamPolicy + "group ops bot\n":                                          "second group",
		teamPolicy + "deploy * @gods\n":                                         "no group",
	} {
		r.Write(sync.RulesPath, text)
		m.refuse(r.Commit("carol", "bad policy"), sync.PolicyBad, say)
		r.Git("reset", "-q", "--hard", ok)
	}

	// A bad policy is never in force, so a commit that puts it right is followed.
	r.Git("rm", "-rq", sync.PolicyDir)
	m.refuse(r.Commit("carol", "no policy"), sync.PolicyBad, "has no")
	r.Git("checkout", "-q", ok, "--", sync.PolicyDir)
	m.accept(r.Commit("carol", "put it back"))
}

// A bot's word is enough for the hosts that say so, and for no others.
func TestBotFlow(t *testing.T) {
	r, stage := team(t)
	prod := stage.as("prod-1")
	r.Write("flake.lock", "bump\n")
	bump := r.Commit("bot", "flake.lock: update")
	stage.accept(bump)
	prod.refuse(bump, sync.Pending, "0 of 2")
	r.Commit("alice", "Approve")
	prod.accept(r.Commit("bob", "Approve"))
	r.Signers("bot")
	stage.refuse(r.Commit("bot", "only me"), sync.PolicyBad, "")
}

func TestEndorsement(t *testing.T) {
	r, n := start(t)
	base := r.Commit("alice", "base")
	n.accept(base)
	r.Git("checkout", "-q", "-b", "forge")
	r.Write("b", "1")
	first := r.Commit("", "by a stranger")
	r.Write("b", "2")
	head := r.Commit("mallory", "Merge pull request #1")
	r.Git("checkout", "-q", "main")
	merge := func(trailer string) string {
		r.Git("checkout", "-q", "-B", "main", base)
		return r.Merge("alice", "forge", "-m", "Merge", "-m", trailer)
	}
	n.refuse(merge("nothing"), sync.Unsigned, "by a stranger")
	n.refuse(merge("Pullnode-Endorse: "+head[:12]), sync.Unsigned, "")     // less than a full id
	n.refuse(merge("Pullnode-Endorse: "+first), sync.UnknownKey, "Merge ") // not all of it
	n.refuse(merge("Pullnode-Endorse: "+base), sync.Unsigned, "")
	n.refuse(merge("Pullnode-Endorse: "+strings.Repeat("a", 40)), sync.Unsigned, "")
	n.accept(merge("Pullnode-Endorse: " + head))

	// On the line itself, by a later commit; nobody vouches for what comes later.
	r.Write("c", "1")
	r.Commit("", "unsigned on the line")
	bad := r.Head()
	n.refuse(bad, sync.Unsigned, "")
	r.Commit("alice", "Endorse", "-m", "Pullnode-Endorse: "+bad)
	n.accept(r.Head())
	r.Commit("", "unsigned again")
	n.refuse(r.Commit("mallory", "Endorse", "-m", "Pullnode-Endorse: "+r.Head()), sync.Unsigned, "")
}

// An endorsed merge changes the policy only as any other commit does.
func TestEndorsementChangesNoPolicy(t *testing.T) {
	r, n := team(t)
	r.Git("checkout", "-q", "-b", "forge")
	r.Signers("alice", "bob", "carol", "bot", "mallory")
	head := r.Commit("", "list me")
	r.Git("checkout", "-q", "main")
	n.refuse(r.Merge("carol", "forge", "-m", "Merge", "-m", "Pullnode-Endorse: "+head), sync.Pending, "0 of 2")
	n.refuse(r.Commit("mallory", "mine"), sync.UnknownKey, "")
}

func TestReset(t *testing.T) {
	r, n := team(t)
	intro := r.Head()
	r.Write("a", "1")
	old := r.Commit("carol", "to be rewritten")
	n.accept(old)
	r.Git("reset", "-q", "--hard", intro)
	r.Write("a", "2")
	r.Commit("", "unsigned, vouched for by the reset")
	n.refuse(r.Head(), sync.Fork, "does not descend")
	reset := func(key, seq string) string { return r.Commit(key, "Reset", "-m", "Pullnode-Reset: "+seq) }
	n.refuse(reset("carol", "7"), sync.Fork, "no admin")
	n.refuse(reset("alice", "7"), sync.Pending, "1 of 2")
	n.accept(r.Commit("bob", "Approve"))
	if n.policy.Trusted.ResetSeq != 7 {
		t.Errorf("reset %d", n.policy.Trusted.ResetSeq)
	}
	r.Write("a", "3")
	n.accept(r.Commit("carol", "goes on"))

	// The same number is never followed twice.
	r.Git("reset", "-q", "--hard", intro)
	reset("alice", "7")
	n.refuse(reset("bob", "7"), sync.Fork, "not above 7")
	n.refuse(old, sync.Fork, "") // what was left behind stays behind
	r.Git("reset", "-q", "--hard", intro)
	n.policy.Recovery = r.Fingerprint("offline")
	r.Signers("dave")
	r.Write(sync.RulesPath, "admin dave\ndeploy * dave\n")
	r.Commit("", "a new policy")
	n.refuse(reset("mallory", "8"), sync.Fork, "no admin")
	n.accept(reset("offline", "9"))
	r.Write("a", "4")
	n.accept(r.Commit("dave", "the new admin"))
	n.refuse(r.Commit("alice", "is not listed any more"), sync.UnknownKey, "")

	r.Git("checkout", "-q", "--orphan", "elsewhere")
	r.Commit("dave", "another repository")
	n.refuse(reset("offline", "10"), sync.Fork, "no history in common")
}

// A node that is set up later meets only the history that the reset left.
func TestResetOnANewNode(t *testing.T) {
	r, n := team(t)
	r.Write("a", "1")
	r.Commit("", "unsigned")
	r.Commit("alice", "Reset", "-m", "Pullnode-Reset: 3")
	tip := r.Commit("bob", "Approve")
	fresh := newNode(t, r, string(n.policy.Introduction.Commit), "alice")
	fresh.policy.Host = "prod-9"
	fresh.accept(tip)
}

package sync_test

import (
	"testing"

	"pullnode/sync"
)

// Root may name any signed commit as the one to begin with; from there on the
// rule is the same.
func TestNamed(t *testing.T) {
	r, n := start(t)
	r.Write("a", "1")
	named := r.Commit("bob", "named by root")
	n.policy = sync.Policy{Introduction: sync.Named(sync.ID(named))}
	r.Write("a", "2")
	next := r.Commit("alice", "next")
	n.accept(next)
	r.Git("reset", "-q", "--hard", named)
	n.refuse(named, sync.Rollback, "already accepted")

	r.Write("a", "3")
	unsigned := r.Commit("", "unsigned")
	n.policy, n.ancestors = sync.Policy{Introduction: sync.Named(sync.ID(unsigned))}, nil
	n.refuse(unsigned, sync.Unsigned, "is not signed")
	n.refuse(named, sync.Fork, "does not descend")
	// Without being named, the commit must be signed by the key of the settings.
	n.policy = sync.Policy{Introduction: sync.Introduction{Commit: sync.ID(named)}}
	n.refuse(named, sync.UnknownKey, "is signed by")
}

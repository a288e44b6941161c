package sync

import (
	"fmt"
	"slices"
)

// reset judges a tip that asks to be followed although it does not descend from
// T. The policy of T decides: its admins must have signed the very tree of the
// tip, from the commit with the reset on, or the recovery key that commit. The
// reset then vouches for everything back to an ancestor of T or the
// introduction. asked is false for a tip that asks for no reset.
func (j *judge) reset() (v Verified, asked bool, err error) {
	tip := j.s.commits[ID(j.s.Header.Tip)]
	if tip == nil {
		return v, false, nil
	}
	run, seq := j.resetRun(tip)
	if seq == 0 {
		return v, false, nil
	}
	fork := func(hint, format string, args ...any) (Verified, bool, error) {
		return Verified{}, true, j.refuse(Fork, tip, hint, format, args...)
	}
	if j.Trusted != nil && seq <= j.Trusted.ResetSeq {
		return fork("sign a new one: pullnode reset", "reset %d is not above %d, which this node has seen", seq, j.Trusted.ResetSeq)
	}
	base := j.s.commits[j.root()]
	if j.Trusted == nil && base == nil {
		return fork("", "%s does not descend from %s, which this node was introduced to", tip.ID.Short(), j.root().Short())
	}
	rules, err := j.startPolicy(base)
	if err != nil {
		return v, true, err
	}
	signer, err := j.resetBy(run, rules)
	if err != nil {
		return v, true, err
	}
	if err := j.anchored(tip); err != nil {
		return v, true, err
	}
	files, err := j.policy(tip)
	if err == nil {
		_, err = ParseRules(files)
	}
	if err != nil {
		return v, true, j.refuse(PolicyBad, tip, "put it right and sign the reset anew", "the reset's policy: %v", err)
	}
	j.pass(fmt.Sprintf("reset %d", seq), "by "+signer)
	v = Verified{commit: tip, signer: signer, policy: files, stream: j.s, resetSeq: seq}
	v.ancestors = slices.Concat(j.s.origin, j.s.order)
	if j.s.hasT {
		v.ancestors = append(v.ancestors, j.root())
	}
	v.ancestors = slices.DeleteFunc(v.ancestors, func(id ID) bool { return id == tip.ID })
	return v, true, nil
}

// resetRun gives the commits from the newest one with a reset up to the tip, all
// with the tip's tree, and the number of the reset.
func (j *judge) resetRun(tip *Commit) (run []*Commit, seq uint64) {
	for c := tip; c != nil && c.Tree == tip.Tree && !j.inT(c.ID); {
		run = append(run, c)
		if seq = c.resetSeq(); seq != 0 || len(c.Parents) == 0 {
			break
		}
		c = j.s.commits[c.Parents[0]]
	}
	return run, seq
}

// resetBy says who resets, or who is still missing.
func (j *judge) resetBy(run []*Commit, rules *Rules) (string, error) {
	var signed []string
	for _, c := range run {
		sig, err := j.check(c, rules.Signers)
		if err == nil && j.Recovery != "" && sig.Fingerprint == j.Recovery && c.resetSeq() != 0 && !j.revoked(sig) {
			return "the recovery key", nil
		}
		if who, ok := j.owner(c, rules.Signers); ok && rules.Admin.Has(who) {
			signed = append(signed, who)
		}
	}
	slices.Sort(signed)
	signed = slices.Compact(signed)
	switch {
	case len(signed) >= rules.Admin.Need:
		return signed[len(signed)-1], nil
	case len(signed) == 0:
		return "", j.refuse(Fork, run[0], "", "%s does not descend from %s, which this node %s, and no admin of its policy signed the reset",
			run[0].ID.Short(), j.root().Short(), j.rootIs())
	}
	return "", j.pending(run[0], rules.Admin, signed, "reset the branch")
}

// anchored checks that the whole new history stands on what this node knows.
func (j *judge) anchored(tip *Commit) error {
	new := func(id ID) bool {
		_, ok := j.at[id]
		return ok && !j.inT(id) && id != j.Introduction.Commit
	}
	origin := map[ID]bool{j.Introduction.Commit: true}
	for _, id := range j.s.origin {
		origin[id] = true
	}
	known := func(id ID) bool { return j.inT(id) || origin[id] }
	at := tip
	for new(at.ID) && len(at.Parents) > 0 && j.s.commits[at.Parents[0]] != nil {
		at = j.s.commits[at.Parents[0]]
	}
	if new(at.ID) && (len(at.Parents) == 0 || !known(at.Parents[0])) {
		return j.refuse(Fork, tip, "only the introduction's own history can be reset to", "%s has no history in common with %s", tip.ID.Short(), j.root().Short())
	}
	var err error
	j.s.walk([]ID{tip.ID}, func(id ID, c *Commit) bool {
		if err != nil || !new(id) {
			return false
		}
		if len(c.Parents) == 0 {
			err = j.refuse(Fork, c, "rebase that work onto the branch instead of merging it", "%s has no history in common with the branch", c.ID.Short())
		}
		for _, p := range c.Parents {
			if !new(p) && !known(p) {
				err = j.refuse(Malformed, c, "", "parent %s of %s is missing from the answer", p.Short(), c.ID.Short())
			}
		}
		return true
	})
	return err
}

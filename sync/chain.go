package sync

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// chain judges every new commit, oldest first on the first-parent line, and what
// each merge brings in.
type chain struct {
	*judge
	base    *Commit
	known   map[ID]bool // judged here
	vouched map[ID]bool // named by an endorsement, or below one that is
	debts   []debt      // not signed as they must be, and not yet vouched for
	added   []ID

	rules  *Rules            // in force for the next commit
	files  map[string][]byte // that rules were read from
	dir    ID                // where files were last seen; may be empty
	before *Rules            // in force before the commit that was judged last
	run    []*Commit         // the newest on the line with one root tree
	voters map[string]bool   // who signed that tree, by the rules of voting
	voting *Rules
	open   *Commit // the newest, where its policy was not looked at

	signer    string
	unsettled error // why the policy in the last commit is not in force
	resetSeq  uint64
}

// debt is a commit that only an endorsement can save.
type debt struct {
	*Commit
	rules *Rules // that judged it
}

func (j *judge) chain(base *Commit, line []*Commit, rules *Rules) (Verified, error) {
	c := &chain{judge: j, base: base, known: map[ID]bool{base.ID: true}, vouched: map[ID]bool{}, rules: rules, before: rules}
	for _, id := range j.s.origin {
		c.known[id] = true
	}
	if j.Trusted != nil {
		c.files, c.resetSeq = j.Trusted.Policy, j.Trusted.ResetSeq
	} else {
		// The introduction is judged here too: nobody accepted it before.
		var err error
		if c.files, err = j.policy(base); err != nil {
			return Verified{}, j.refuse(PolicyBad, base, "", "%v", err)
		}
		c.run = []*Commit{base}
		c.signer, _ = c.owner(base, rules.Signers)
	}
	j.prefetch()
	for _, n := range line {
		if err := c.next(n); err != nil {
			return Verified{}, err
		}
	}
	return c.end(line)
}

// next judges one commit of the line.
func (c *chain) next(n *Commit) error {
	for _, m := range append(c.newBelow(n.Parents[1:]), n) {
		if err := c.joins(m, n); err != nil {
			return err
		}
		who, ok := c.owner(m, c.rules.Signers)
		if c.signer = who; !ok {
			c.debts = append(c.debts, debt{m, c.rules})
		}
		c.known[m.ID] = true
		c.added = append(c.added, m.ID)
	}
	if c.signer != "" {
		c.vouch(n.endorsed())
		if seq := n.resetSeq(); seq > c.resetSeq && c.rules.Admin.Has(c.signer) {
			c.resetSeq = seq // passed by, so it cannot be replayed
		}
	}
	if len(c.run) > 0 && c.run[0].Tree != n.Tree {
		c.run, c.voting = nil, nil
	}
	c.run = append(c.run, n)
	if c.voting == c.rules {
		c.vote(n)
	}
	c.before, c.open = c.rules, n
	// Whoever has no say over the policy cannot make a node read one either.
	if len(c.quorum(c.rules.Admin, c.rules)) >= c.rules.Admin.Need {
		c.ratify(n)
	}
	return nil
}

func (c *chain) vote(n *Commit) {
	if who, ok := c.owner(n, c.voting.Signers); ok {
		c.voters[who] = true
	}
}

// joins checks that a commit stands on nothing but what was judged.
func (c *chain) joins(m, merge *Commit) error {
	if len(m.Parents) == 0 {
		return c.refuse(Fork, m, "rebase that work onto the branch instead of merging it",
			"merge %s brings in %s, which has no history in common with the branch", merge.ID.Short(), m.ID.Short())
	}
	for _, p := range m.Parents {
		if !c.known[p] && !c.inT(p) {
			return c.refuse(Malformed, m, "", "parent %s of %s is missing from the answer", p.Short(), m.ID.Short())
		}
	}
	return nil
}

// vouch takes the debts of what is named and of all below it.
func (c *chain) vouch(ids []ID) {
	if len(ids) == 0 || len(c.debts) == 0 {
		return
	}
	c.s.walk(ids, func(id ID, _ *Commit) bool {
		// Only what was judged by now: a commit cannot vouch for a later one.
		below := c.known[id] && !c.vouched[id] && id != c.base.ID && !c.inT(id)
		c.vouched[id] = c.vouched[id] || below
		return below
	})
	c.debts = slices.DeleteFunc(c.debts, func(d debt) bool { return c.vouched[d.ID] })
}

// ratify puts the policy of n in force when enough admins of the one before
// signed this very tree. A policy that cannot be read never is.
func (c *chain) ratify(n *Commit) {
	c.unsettled, c.open = nil, nil
	files, err := c.policy(n)
	if err != nil {
		c.unsettled = c.refuse(PolicyBad, n, "put "+PolicyDir+" right in a commit signed by a listed key", "%v", err)
		return
	}
	if c.dir != "" && c.dir == c.read.id {
		return
	}
	if maps.EqualFunc(files, c.files, func(a, b []byte) bool { return string(a) == string(b) }) {
		c.dir = c.read.id
		return
	}
	rules, err := ParseRules(files)
	if err != nil {
		c.unsettled = c.refuse(PolicyBad, n, "put the line right in a commit signed by a listed key", "commit %s: %v", n.ID.Short(), err)
		return
	}
	signed := c.quorum(c.rules.Admin, c.rules)
	if len(signed) < c.rules.Admin.Need {
		c.unsettled = c.pending(n, c.rules.Admin, signed, "change "+PolicyDir)
		return
	}
	c.rules, c.files, c.dir = rules, files, c.read.id
}

// quorum gives the people among q who signed the tree that the line ends with,
// each once, whatever keys they used.
func (c *chain) quorum(q Quorum, rules *Rules) (who []string) {
	if c.voting != rules {
		c.voting, c.voters = rules, map[string]bool{}
		for _, n := range c.run {
			c.vote(n)
		}
	}
	for w := range c.voters {
		if q.Has(w) {
			who = append(who, w)
		}
	}
	slices.Sort(who)
	return who
}

func (j *judge) pending(n *Commit, q Quorum, signed []string, what string) error {
	of := "any listed signer"
	if q.Members != nil {
		of = strings.Join(q.Members, ", ")
	}
	by := "none yet"
	if len(signed) > 0 {
		by = "so far " + strings.Join(signed, ", ")
	}
	return j.refuse(Pending, n, "pullnode approve", "%d of %d signatures to %s (%s; of %s)", len(signed), q.Need, what, by, of)
}

// end says what may happen with the tip.
func (c *chain) end(line []*Commit) (Verified, error) {
	if len(c.debts) > 0 {
		d := c.debts[0]
		_, err := c.signedBy(d.Commit, d.rules.Signers)
		return Verified{}, err
	}
	tip := c.base
	if c.open != nil {
		c.ratify(c.open)
	}
	if len(line) > 0 {
		tip = line[len(line)-1]
		c.pass(fmt.Sprintf("%d new commits signed or vouched for", len(c.added)), "the newest by "+c.signer)
		c.added = append(c.added[:len(c.added)-1], c.base.ID) // the tip is T now, not its ancestor
		if c.base.ID != c.root() {
			c.added = append(c.added, c.root()) // the same commit, as it was accepted
		}
	}
	v := Verified{commit: tip, signer: c.signer, policy: c.files, stream: c.s, ancestors: append(c.added, c.s.origin...), resetSeq: c.resetSeq}
	if c.lenient || len(line) == 0 && (c.Trusted != nil || c.Introduction.named) {
		return v, nil // accepted before, or named by root
	}
	if c.unsettled != nil {
		return Verified{}, c.unsettled
	}
	if c.Host == "" {
		return v, nil
	}
	rule, ok := c.before.For(c.Host)
	if !ok {
		return Verified{}, c.refuse(PolicyBad, tip, "add a line to "+RulesPath+": deploy "+c.Host+" <group>", "no deploy rule of %s is for the host %q", RulesPath, c.Host)
	}
	signed := c.quorum(rule.Quorum, c.before)
	if len(signed) < rule.Need {
		return Verified{}, c.pending(tip, rule.Quorum, signed, "deploy "+c.Host)
	}
	c.pass("deploy "+rule.Pattern, fmt.Sprintf("%d of %d: %s", len(signed), rule.Need, strings.Join(signed, ", ")))
	return v, nil
}

// newBelow gives the commits reachable from heads that are new here, parents
// before children.
func (c *chain) newBelow(heads []ID) (out []*Commit) {
	c.s.walk(heads, func(id ID, m *Commit) bool {
		isNew := m != nil && !c.known[id] && !c.inT(id)
		if isNew {
			out = append(out, m)
		}
		return isNew
	})
	slices.SortFunc(out, func(a, b *Commit) int { return c.at[a.ID] - c.at[b.ID] })
	return out
}

package sync

import "strings"

// history reads parts 1 to 3: T's ancestors, T, and the new commits with their
// root trees and policies.
func (r *reader) history(want Want) error {
	for {
		rec, err := r.peek()
		if err != nil {
			return err
		}
		if rec == nil {
			return nil
		}
		if r.tipDone {
			return nil // the rest is the tip's tree
		}
		if rec.kind != "commit" {
			return malformed("%s %s where a commit belongs", rec.kind, rec.id.Short())
		}
		r.peeked = nil
		if want.Ancestry && !r.hasT && len(r.order) == 0 && string(rec.id) != want.Trusted {
			if c := linksOf(rec); c != nil && !r.root(c) {
				r.commits[c.ID] = c
				r.origin = append(r.origin, c.ID)
				continue
			}
		}
		c, err := ParseCommit(rec.body)
		if err != nil {
			return &streamError{Malformed, "commit " + rec.id.Short() + ": " + err.Error(), rec.id}
		}
		r.commits[c.ID] = c
		switch {
		case string(c.ID) == want.Trusted:
			if err := r.trusted(c, want); err != nil {
				return blame(err, c.ID)
			}
			r.tipDone = c.ID == ID(r.Header.Tip)
		default:
			if len(r.order) == 0 && !r.hasT {
				// T is not in this history: what was taken for T's ancestors
				// cannot be, or there was none.
				if len(r.origin) > 0 {
					return malformed("ancestors without the trusted commit")
				}
			}
			r.order = append(r.order, c.ID)
			if len(r.order) > r.lim.Commits {
				return overLimit("more than %d new commits in one answer", r.lim.Commits)
			}
			if err := r.policyOf(c); err != nil {
				return blame(err, c.ID)
			}
			r.tipDone = c.ID == ID(r.Header.Tip)
		}
	}
}

// linksOf reads no more of a commit than its tree and parents. T's ancestors are
// only hashed, never judged: what an operator trusted may stand on history that
// the strict grammar would refuse.
func linksOf(rec *record) *Commit {
	p := headerParser{lines: strings.Split(string(rec.body), "\n")}
	tree, ok := p.take("tree")
	if !ok || !isID(tree) {
		return nil
	}
	c := &Commit{ID: rec.id, Tree: ID(tree)}
	for {
		parent, ok := p.take("parent")
		if !ok {
			return c
		}
		if !isID(parent) {
			return nil
		}
		c.Parents = append(c.Parents, ID(parent))
	}
}

// root says whether c's root tree follows, which tells a new commit from a
// bare ancestor.
func (r *reader) root(c *Commit) bool {
	rec, err := r.peek()
	return err == nil && rec != nil && rec.kind == "tree" && rec.id == c.Tree
}

// trusted checks that what came before T is exactly its ancestors and reads its
// root tree and policy.
func (r *reader) trusted(c *Commit, want Want) error {
	if r.hasT || len(r.order) > 0 {
		return malformed("the trusted commit %s is not where it belongs", c.ID.Short())
	}
	r.hasT = true
	if want.Ancestry {
		n, missing := 0, ID("")
		r.walk(c.Parents, func(id ID, p *Commit) bool {
			if n++; p == nil {
				missing = id
			}
			return missing == ""
		})
		switch {
		case missing != "":
			return malformed("ancestor %s of the trusted commit is missing", missing.Short())
		case n != len(r.origin):
			return malformed("%d commits that are no ancestors of the trusted commit", len(r.origin)-n)
		}
	}
	return r.policyOf(c)
}

// policyOf reads a commit's root tree and its .pullnode directory, as far as
// they were not sent before.
func (r *reader) policyOf(c *Commit) error {
	if dir, ok := r.roots[c.Tree]; ok { // as of most commits a hostile server makes up
		if dir == "" {
			return nil
		}
		return r.below(dir, 0)
	}
	if _, ok := r.have(c.Tree, "tree"); !ok {
		if _, err := r.next(c.Tree, "tree"); err != nil {
			return err
		}
	}
	entries, err := r.tree(c.Tree)
	if err != nil {
		return malformed("tree %s: %v", c.Tree.Short(), err)
	}
	if e, ok := find(entries, PolicyDir); ok && e.mode == modeTree {
		r.roots[c.Tree] = e.id
		return r.below(e.id, 0)
	}
	r.roots[c.Tree] = ""
	return nil
}

// have says whether a record was already used; the one that is only peeked at
// was not.
func (r *reader) have(id ID, kind string) (place, bool) {
	p, ok := r.index[id]
	if ok && r.peeked != nil && r.peeked.id == id {
		return p, false
	}
	return p, ok && p.kind == kind
}

// below reads a tree and everything under it, depth first. What was read in full
// before has nothing new.
func (r *reader) below(id ID, depth int) error {
	if r.full[id] {
		return nil
	}
	if depth > r.lim.Depth {
		return overLimit("directories are nested deeper than %d", r.lim.Depth)
	}
	if _, ok := r.have(id, "tree"); !ok {
		if _, err := r.next(id, "tree"); err != nil {
			return err
		}
	}
	entries, err := r.tree(id)
	if err != nil {
		return malformed("tree %s: %v", id.Short(), err)
	}
	// These are held while what is below them is read. A path through more than
	// the tree may have would be refused when it is exported.
	if r.open += len(entries); r.open > r.lim.Files {
		return overLimit("the tree has more than %d files", r.lim.Files)
	}
	defer func() { r.open -= len(entries) }()
	for _, e := range entries {
		switch e.mode {
		case modeSubmodul: // refused by name when the tree is exported
		case modeTree:
			if err := r.below(e.id, depth+1); err != nil {
				return err
			}
		default:
			if _, ok := r.have(e.id, "blob"); !ok {
				if _, err := r.next(e.id, "blob"); err != nil {
					return err
				}
			}
		}
	}
	r.full[id] = true
	return nil
}

package sync

import (
	"bytes"
	"fmt"
)

// chain judges every new commit, oldest first on the first-parent line, and
// what each merge brings in. The full rule takes this function's place.
func (j *judge) chain(base *Commit, line []*Commit, signers *Signers) (Verified, error) {
	inT := func(id ID) bool { return id == base.ID || id == j.root() || (j.Ancestors != nil && j.Ancestors(id)) }
	known := map[ID]bool{base.ID: true}
	for _, id := range j.s.origin {
		known[id] = true
	}
	files := map[string][]byte(nil)
	if j.Trusted != nil {
		files = j.Trusted.Policy
	}
	tip, signer := base, ""
	var added []ID
	for _, c := range line {
		brought := append(j.newBelow(c.Parents[1:], known, inT), c)
		for _, m := range brought {
			if len(m.Parents) == 0 {
				return Verified{}, j.refuse(Fork, m, "rebase that work onto the branch instead of merging it",
					"merge %s brings in %s, which has no history in common with the branch", c.ID.Short(), m.ID.Short())
			}
			for _, p := range m.Parents {
				if !known[p] && !inT(p) {
					return Verified{}, j.refuse(Malformed, m, "", "parent %s of %s is missing from the answer", p.Short(), m.ID.Short())
				}
			}
			who, err := j.signedBy(m, signers)
			if err != nil {
				return Verified{}, err
			}
			known[m.ID] = true
			added = append(added, m.ID)
			signer = who
		}
		next, err := j.s.policyFiles(c)
		if err != nil {
			return Verified{}, j.refuse(PolicyBad, c, "", "%v", err)
		}
		if !bytes.Equal(next[SignersPath], files[SignersPath]) || files == nil {
			if signers, err = j.parsePolicy(c, next); err != nil {
				return Verified{}, err
			}
		}
		files, tip = next, c
	}
	if len(line) == 0 {
		var err error
		if files, err = j.s.policyFiles(base); err != nil {
			return Verified{}, j.refuse(PolicyBad, base, "", "%v", err)
		}
		if signer, err = j.signedBy(base, signers); err != nil && j.Trusted == nil {
			return Verified{}, err
		}
	} else {
		j.pass(fmt.Sprintf("%d of %d signed", len(added), len(added)), "the newest by "+signer)
		added = append(added[:len(added)-1], base.ID) // the tip is T now, not its ancestor
	}
	return Verified{commit: tip, signer: signer, policy: files, stream: j.s, ancestors: append(added, j.s.origin...)}, nil
}

// newBelow gives the commits reachable from heads that are new here, parents
// before children.
func (j *judge) newBelow(heads []ID, known map[ID]bool, inT func(ID) bool) []*Commit {
	want := map[ID]bool{}
	stack := append([]ID(nil), heads...)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		c, ok := j.s.commits[id]
		if !ok || want[id] || known[id] || inT(id) {
			continue
		}
		want[id] = true
		stack = append(stack, c.Parents...)
	}
	var out []*Commit
	for _, id := range j.s.order {
		if want[id] {
			out = append(out, j.s.commits[id])
		}
	}
	return out
}

// policyFiles reads .pullnode of a commit: plain files directly in it.
func (s *Stream) policyFiles(c *Commit) (map[string][]byte, error) {
	entries, err := s.tree(c.Tree)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	dir, ok := find(entries, PolicyDir)
	if !ok {
		return nil, fmt.Errorf("commit %s has no %s", c.ID.Short(), SignersPath)
	}
	if dir.mode != modeTree {
		return nil, fmt.Errorf("%s is not a directory in %s", PolicyDir, c.ID.Short())
	}
	if entries, err = s.tree(dir.id); err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.mode == modeTree {
			continue // keys/ and the like: not part of the rule
		}
		if e.mode != modeFile {
			return nil, fmt.Errorf("%s/%s in %s is not a plain file", PolicyDir, e.name, c.ID.Short())
		}
		b, err := s.body(e.id, "blob")
		if err != nil {
			return nil, err
		}
		if len(b) > maxPolicy {
			return nil, fmt.Errorf("%s/%s in %s is %d bytes, at most %d are read", PolicyDir, e.name, c.ID.Short(), len(b), maxPolicy)
		}
		files[PolicyDir+"/"+e.name] = b
	}
	if files[SignersPath] == nil {
		return nil, fmt.Errorf("commit %s has no %s", c.ID.Short(), SignersPath)
	}
	return files, nil
}

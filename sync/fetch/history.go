package fetch

import (
	"strings"

	"pullnode/sync"
)

// links are a commit's tree and parents, no more.
type links struct {
	tree    string
	parents []string
}

// history walks commits of a repository and remembers their links.
type history struct {
	r    *repo
	seen map[string]links
}

func (h *history) links(id string) (links, error) {
	if l, ok := h.seen[id]; ok {
		return l, nil
	}
	kind, body, err := h.r.object(id)
	if err != nil {
		return links{}, err
	}
	if kind != "commit" {
		return links{}, fail(sync.BadData, "%s is a %s where a commit belongs", id, kind)
	}
	var l links
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if name == "tree" && l.tree == "" && isID(value) {
			l.tree = value
		} else if name == "parent" && l.tree != "" && isID(value) {
			l.parents = append(l.parents, value)
		} else {
			break
		}
	}
	if l.tree == "" {
		return links{}, fail(sync.BadData, "commit %s does not begin with a tree", id)
	}
	h.seen[id] = l
	return l, nil
}

// above gives the commits reachable from tip but not from a stop, parents
// before children. rooted says that one of them has no parent at all, met that
// the walk came across a stop.
func (h *history) above(tip string, stop map[string]bool) (order []string, rooted bool, met map[string]bool, err error) {
	type frame struct {
		id   string
		next int
	}
	done, met := map[string]bool{}, map[string]bool{}
	if stop[tip] {
		met[tip] = true
		return nil, false, met, nil
	}
	done[tip] = true
	stack := []frame{{id: tip}}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		l, err := h.links(f.id)
		if err != nil {
			return nil, false, nil, err
		}
		rooted = rooted || len(l.parents) == 0
		if f.next == len(l.parents) {
			order = append(order, f.id)
			stack = stack[:len(stack)-1]
			continue
		}
		p := l.parents[f.next]
		f.next++
		if stop[p] {
			met[p] = true
		} else if !done[p] {
			done[p] = true
			stack = append(stack, frame{id: p})
		}
	}
	return order, rooted, met, nil
}

// plan is which commits a stream holds, in its order.
type plan struct {
	origin  []string // ancestors of T, bare
	trusted string   // T, "" when the tip's history lacks it
	news    []string
}

func (h *history) plan(tip string, w sync.Want) (plan, error) {
	var p plan
	order, rooted, met, err := h.above(tip, map[string]bool{w.Trusted: true})
	if err != nil {
		return p, err
	}
	var stop []string
	if p.news = order; met[w.Trusted] {
		p.trusted = w.Trusted
		stop = []string{w.Trusted}
	} else {
		in := map[string]bool{}
		for _, id := range order {
			in[id] = true
		}
		for _, id := range w.TrustedParents {
			if in[id] {
				stop = append(stop, id)
			}
		}
		rooted = len(stop) > 0
	}
	if w.Ancestry && p.trusted != "" {
		if p.origin, _, _, err = h.above(w.Trusted, nil); err != nil {
			return p, err
		}
		p.origin = p.origin[:len(p.origin)-1] // T itself
	}
	if !rooted || len(stop) == 0 {
		// Every line of descent ended at T, so nothing of what was met can be
		// an ancestor of it: the usual case costs as much as there is news.
		return p, nil
	}
	old := map[string]bool{}
	for _, s := range stop {
		below, _, _, err := h.above(s, old)
		if err != nil {
			return p, err
		}
		for _, id := range below {
			old[id] = true
		}
	}
	p.news = nil
	for _, id := range order {
		if !old[id] {
			p.news = append(p.news, id)
		}
	}
	return p, nil
}

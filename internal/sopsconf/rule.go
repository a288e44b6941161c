package sopsconf

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// list is where the age recipients of a key group are written: a text with commas
// or a list, of which an alias may be all or one.
type list struct {
	group int
	value *yaml.Node // a scalar or a sequence, never an alias
	items []item
}

// item is one recipient as it is written.
type item struct {
	node      *yaml.Node // in value, or value itself
	recipient string
	alone     bool // its scalar has no other
}

func readRule(n *yaml.Node) (Rule, error) {
	r := Rule{Line: n.Line, node: n}
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		return r, fmt.Errorf("line %d: is no rule", n.Line)
	}
	if p := follow(field(n, "path_regex")); p != nil && p.Tag != "!!null" {
		if p.Kind != yaml.ScalarNode {
			return r, fmt.Errorf("line %d: path_regex is no text", p.Line)
		}
		r.PathRegex = p.Value
		re, err := regexp.Compile(p.Value)
		if err != nil {
			return r, fmt.Errorf("line %d: path_regex %q: %w", p.Line, p.Value, err)
		}
		if p.Value != "" {
			r.re = re
		}
	}
	groups := follow(field(n, "key_groups"))
	if groups == nil || len(groups.Content) == 0 {
		// As in sops, the keys at the top are the only group when there are none.
		return r, r.read(0, field(n, "age"))
	}
	if groups.Kind != yaml.SequenceNode {
		return r, fmt.Errorf("line %d: key_groups is not a list", groups.Line)
	}
	for i, g := range groups.Content {
		if err := r.group(i, follow(g), 0); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *Rule) group(i int, g *yaml.Node, depth int) error {
	if g.Kind != yaml.MappingNode || depth > 8 {
		return fmt.Errorf("line %d: is not a group of keys", g.Line)
	}
	if m := follow(field(g, "merge")); m != nil {
		for _, sub := range m.Content {
			if err := r.group(i, follow(sub), depth+1); err != nil {
				return err
			}
		}
	}
	return r.read(i, field(g, "age"))
}

func (r *Rule) read(group int, v *yaml.Node) error {
	for len(r.Groups) <= group {
		r.Groups = append(r.Groups, nil)
	}
	if v = follow(v); v == nil || v.Tag == "!!null" {
		return nil
	}
	l := list{group: group, value: v}
	switch v.Kind {
	case yaml.ScalarNode:
		l.add(v)
	case yaml.SequenceNode:
		for _, n := range v.Content {
			if follow(n).Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: is no age recipient: sops takes no list in a list", n.Line)
			}
			l.add(n)
		}
	default:
		return fmt.Errorf("line %d: age is neither text nor a list", v.Line)
	}
	for _, it := range l.items {
		if !strings.HasPrefix(it.recipient, "age1") && !strings.HasPrefix(it.recipient, "ssh-") || len(it.recipient) > limit/64 {
			return fmt.Errorf("line %d: %.40q is no age recipient", it.node.Line, it.recipient)
		}
		r.Groups[group] = append(r.Groups[group], it.recipient)
	}
	r.lists = append(r.lists, l)
	return nil
}

// add reads a scalar, whose recipients are separated by commas.
func (l *list) add(n *yaml.Node) {
	before := len(l.items)
	for text := range strings.SplitSeq(follow(n).Value, ",") {
		if text = strings.TrimSpace(text); text != "" {
			l.items = append(l.items, item{node: n, recipient: text})
		}
	}
	if len(l.items) == before+1 {
		l.items[before].alone = true
	}
}

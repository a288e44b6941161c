package sopsconf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// accept reads what an edit made and compares: each rule has the recipients that it
// should have (want is asked with a copy of the rule as it was, also for one rule that
// is new), and everything else is as it was, but for the words given and anchors.
func (f *File) accept(out []byte, want func(i int, old Rule) [][]string, words ...string) ([]byte, error) {
	if slices.Equal(out, f.raw) {
		return out, nil
	}
	refuse := func(why string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("%s is written in a way that is not edited here (%s): change it by hand", Name, fmt.Sprintf(why, args...))
	}
	g, err := Parse(out)
	if err != nil {
		return refuse("%v", err)
	}
	added := len(g.Rules) - len(f.Rules)
	if added < 0 || added > 1 {
		return refuse("it would have %d rules", len(g.Rules))
	}
	for i, r := range g.Rules {
		old := Rule{Groups: r.Groups}
		if i < len(f.Rules) {
			old = f.Rules[i]
			old.Groups = clone(old.Groups)
			if !reflect.DeepEqual(rest(old.node), rest(r.node)) {
				return refuse("the rule of line %d would change", old.Line)
			}
		}
		need := want(i, old)
		if len(need) != len(r.Groups) {
			return refuse("the rule of line %d would have %d key groups", r.Line, len(r.Groups))
		}
		for j := range need {
			if !slices.Equal(sorted(need[j]), sorted(r.Groups[j])) {
				return refuse("the rule of line %d would have other recipients", r.Line)
			}
		}
	}
	if before, after := f.outside(words), g.outside(words); !slices.Equal(before, after) {
		return refuse("something outside of the rules would change")
	}
	return out, nil
}

func clone(groups [][]string) (all [][]string) {
	for _, g := range groups {
		all = append(all, slices.Clone(g))
	}
	return all
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// rest is a rule without its age recipients.
func rest(n *yaml.Node) any {
	var v any
	if n.Decode(&v) != nil {
		return nil
	}
	return strip(v)
}

func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "age")
		for k, x := range v {
			v[k] = strip(x)
		}
	case []any:
		for i, x := range v {
			v[i] = strip(x)
		}
	}
	return v
}

// outside are the scalars that are in no rule, without the recipients named and
// without the keys that name them.
func (f *File) outside(words []string) (all []string) {
	for i := 0; i+1 < len(f.root.Content); i += 2 {
		k, v := f.root.Content[i], f.root.Content[i+1]
		if k.Value != "creation_rules" {
			all = append(all, k.Value)
			all = flat(all, v, words)
		}
	}
	return all
}

func flat(all []string, n *yaml.Node, words []string) []string {
	if n.Kind == yaml.AliasNode {
		return append(all, "*"+n.Value)
	}
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		if slices.Contains(words, n.Value) {
			return all
		}
		// A text with commas, whose recipients may change.
		var kept []string
		for w := range strings.SplitSeq(n.Value, ",") {
			if w = strings.TrimSpace(w); !slices.Contains(words, w) {
				kept = append(kept, w)
			}
		}
		return append(all, strings.Join(kept, ","))
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && i+1 < len(n.Content) && slices.Contains(words, n.Content[i+1].Value) {
			continue
		}
		all = flat(all, c, words)
	}
	return all
}

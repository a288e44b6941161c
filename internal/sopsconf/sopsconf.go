// Package sopsconf reads .sops.yaml, which says for whom secrets are encrypted, and
// adds and removes age recipients in it.
//
// An edit changes the bytes that it must and no others: comments, order, anchors and
// quotes stay as they are. What was edited is read again and compared with what was
// meant, so that a way of writing that is not understood here is an error and never a
// damaged file.
package sopsconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Name is the file's, at the top of a repository.
const Name = ".sops.yaml"

// limit bounds the file; maxNodes what is read of it.
const (
	limit    = 1 << 20
	maxNodes = 100_000
)

// File is a .sops.yaml that was read.
type File struct {
	Rules []Rule

	raw   []byte
	line  []int // where each line begins
	root  *yaml.Node
	names map[string][]string // of a recipient: anchors and comments
	// places are the scalars that hold a recipient outside of the rules.
	places  []place
	inRules bool // while it is read
}

// Rule is one of creation_rules.
type Rule struct {
	Line      int    // in the file, from 1
	PathRegex string // empty matches every file
	// Groups are the age recipients of its key groups, in the file's order.
	Groups [][]string

	re    *regexp.Regexp
	node  *yaml.Node
	lists []list
}

// place is a scalar with a recipient, and what it is in.
type place struct{ node, parent, key *yaml.Node }

// Recipients are those of all groups, once each.
func (r Rule) Recipients() []string {
	var all []string
	for _, g := range r.Groups {
		for _, a := range g {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// Parse reads the file. What sops would refuse, and what is ambiguous, is an error.
func Parse(raw []byte) (*File, error) {
	if len(raw) > limit {
		return nil, fmt.Errorf("is over %d bytes", limit)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return &File{raw: raw, root: &yaml.Node{Kind: yaml.MappingNode}, line: lines(raw)}, nil
	} else if err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	var more yaml.Node
	if d.Decode(&more) == nil {
		return nil, errors.New("holds more than one YAML document; sops reads the first")
	}
	// Refuses keys that are there twice, and aliases that multiply.
	var tree map[string]any
	if err := doc.Decode(&tree); err != nil {
		return nil, fmt.Errorf("is not what sops reads: %w", err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("is not a mapping")
	}
	f := &File{raw: raw, root: doc.Content[0], names: map[string][]string{}, line: lines(raw)}
	rules := follow(field(f.root, "creation_rules"))
	if rules != nil && rules.Tag != "!!null" {
		if rules.Kind != yaml.SequenceNode {
			return nil, fmt.Errorf("line %d: creation_rules is not a list", rules.Line)
		}
		for _, n := range rules.Content {
			r, err := readRule(n)
			if err != nil {
				return nil, err
			}
			f.Rules = append(f.Rules, r)
		}
	}
	budget := maxNodes
	if f.walk(f.root, nil, nil, rules, &budget); budget < 0 {
		return nil, errors.New("has too many parts")
	}
	return f, nil
}

func lines(raw []byte) []int {
	at := []int{0}
	for i, b := range raw {
		if b == '\n' {
			at = append(at, i+1)
		}
	}
	return at
}

// walk notes the names of recipients, and where they stand outside of the rules.
func (f *File) walk(n, parent, key, rules *yaml.Node, budget *int) {
	if *budget--; *budget < 0 || n.Kind == yaml.AliasNode {
		return
	}
	if n.Kind == yaml.ScalarNode && isAge(n.Value) {
		if n.Anchor != "" {
			f.name(n.Value, n.Anchor)
		}
		if !f.inRules {
			f.places = append(f.places, place{n, parent, key})
		}
	}
	for i, c := range n.Content {
		key = nil
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			key = n.Content[i-1]
		}
		was := f.inRules
		f.inRules = was || c == rules
		f.walk(c, n, key, rules, budget)
		f.inRules = was
		if comment := strings.TrimSpace(strings.TrimLeft(c.LineComment, "#")); comment != "" && n.Kind == yaml.SequenceNode {
			f.name(follow(c).Value, comment)
		}
	}
}

func (f *File) name(recipient, name string) {
	if isAge(recipient) && !slices.Contains(f.names[recipient], name) {
		f.names[recipient] = append(f.names[recipient], name)
	}
}

// isAge is true for a recipient that age knows, of a plugin also.
func isAge(s string) bool { return strings.HasPrefix(s, "age1") && !strings.ContainsAny(s, ", \n") }

// Match gives the index of the rule that sops takes for a file: the first whose
// path_regex matches its path, from the top of the repository.
func (f *File) Match(path string) (int, bool) {
	i := slices.IndexFunc(f.Rules, func(r Rule) bool { return r.re == nil || r.re.MatchString(path) })
	return i, i >= 0
}

// Names are what a recipient is called: its anchors, and the comments behind it.
func (f *File) Names(recipient string) []string { return f.names[recipient] }

// Resolve gives the only recipient of that name; a recipient is its own.
func (f *File) Resolve(name string) (recipient string, ok bool) {
	if isAge(name) {
		return name, true
	}
	for r, names := range f.names {
		if slices.Contains(names, strings.TrimPrefix(name, "*")) {
			if recipient != "" {
				return "", false
			}
			recipient = r
		}
	}
	return recipient, recipient != ""
}

// Recipients are all of the file, in its order: of the rules, then the others.
func (f *File) Recipients() []string {
	var all []string
	add := func(r string) {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	for _, r := range f.Rules {
		for _, a := range r.Recipients() {
			add(a)
		}
	}
	for _, p := range f.places {
		add(p.node.Value)
	}
	return all
}

// field gives the value of a key; a value that is merged in (<<) counts as sops
// counts it.
func field(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		switch k := m.Content[i]; {
		case k.Value == key:
			return m.Content[i+1]
		case k.Tag == "!!merge":
			merged = m.Content[i+1]
		}
	}
	if merged = follow(merged); merged == nil {
		return nil
	}
	from := []*yaml.Node{merged}
	if merged.Kind == yaml.SequenceNode {
		from = merged.Content
	}
	for _, n := range from {
		if v := field(follow(n), key); v != nil {
			return v
		}
	}
	return nil
}

// follow gives what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

package sopsconf

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Remove gives the file without a recipient: out of every rule, and where an anchor
// names it. A rule that would have nobody left is an error that wraps ErrEmpty.
func (f *File) Remove(recipient string) ([]byte, error) {
	var all []splice
	done := map[*yaml.Node]bool{}
	for _, r := range f.Rules {
		for _, g := range r.Groups {
			if slices.Contains(g, recipient) && !slices.ContainsFunc(g, func(a string) bool { return a != recipient }) {
				return nil, fmt.Errorf("line %d: the rule %w", r.Line, ErrEmpty)
			}
		}
		for _, l := range r.lists {
			if l.index(recipient) < 0 || done[l.value] {
				continue
			}
			done[l.value] = true
			some, err := f.take(l, recipient, done)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	for _, p := range f.places {
		if p.node.Value != recipient || done[p.node] {
			continue
		}
		if p.parent == nil {
			return nil, styleError(p.node)
		}
		s, err := f.cutItem(p.node, p.parent, p.key)
		if err != nil {
			return nil, err
		}
		done[p.node] = true
		all = append(all, s)
	}
	out, err := apply(f.raw, all)
	if err != nil {
		return nil, err
	}
	return f.accept(out, func(_ int, r Rule) [][]string {
		for i, g := range r.Groups {
			r.Groups[i] = slices.DeleteFunc(g, func(a string) bool { return a == recipient })
		}
		return r.Groups
	}, recipient)
}

// take removes a recipient from one list.
func (f *File) take(l list, recipient string, done map[*yaml.Node]bool) (all []splice, err error) {
	if len(l.items) == 1 {
		return nil, fmt.Errorf("line %d: the list %w", l.value.Line, ErrEmpty)
	}
	if l.value.Kind == yaml.ScalarNode {
		spans, err := f.tokens(l.value, l.items)
		if err != nil {
			return nil, err
		}
		i := l.index(recipient)
		if slices.ContainsFunc(l.items[i+1:], func(it item) bool { return it.recipient == recipient }) {
			return nil, styleError(l.value)
		}
		if i+1 < len(spans) {
			return []splice{{spans[i][0], spans[i+1][0], ""}}, nil
		}
		return []splice{{spans[i-1][1], spans[i][1], ""}}, nil
	}
	for _, it := range l.items {
		if it.recipient != recipient {
			continue
		}
		if !it.alone {
			return nil, styleError(it.node)
		}
		s, err := f.cutItem(it.node, l.value, nil)
		if err != nil {
			return nil, err
		}
		done[it.node] = true
		all = append(all, s)
	}
	return all, nil
}

// AddRule gives the file with a rule for files that match a path_regex, after the
// others, with these recipients; those that have an anchor are written by it.
func (f *File) AddRule(pathRegex string, recipients []string) ([]byte, error) {
	if len(recipients) == 0 {
		return nil, fmt.Errorf("a rule %w", ErrEmpty)
	}
	for _, r := range f.Rules {
		if r.re == nil {
			return nil, fmt.Errorf("line %d: the rule matches every file, so that no rule after it counts", r.Line)
		}
	}
	var words []string
	named := true
	for _, r := range recipients {
		if !plainRE.MatchString(r) {
			return nil, fmt.Errorf("%.40q is no recipient", r)
		}
		for _, p := range f.places {
			if p.node.Value == r && p.node.Anchor != "" {
				r = "*" + p.node.Anchor
				break
			}
		}
		named = named && r[0] == '*'
		words = append(words, r)
	}
	nl := f.newline()
	text := "  - path_regex: " + pathRegex + nl + "    key_groups:" + nl + "      - age:"
	if named {
		text += " [" + strings.Join(words, ", ") + "]" + nl
	} else {
		// One a line, as a comment behind each can say whose it is.
		text += nl
		for _, w := range words {
			text += "          - " + w + nl
		}
	}
	rules := follow(field(f.root, "creation_rules"))
	var all []splice
	switch end := len(f.raw); {
	case rules == nil:
		all = []splice{{end, end, f.ending() + "creation_rules:" + nl + text}}
	case len(rules.Content) == 0 && rules.Kind == yaml.SequenceNode:
		at, err := f.at(rules)
		if err != nil || !strings.HasPrefix(string(f.raw[at:]), "[]") {
			return nil, styleError(rules)
		}
		from, _ := f.lineOf(at)
		if strings.TrimRight(string(f.raw[from:at]), " ") != "creation_rules:" {
			return nil, styleError(rules)
		}
		all = []splice{{from + len("creation_rules:"), at + len("[]"), nl + strings.TrimSuffix(text, nl)}}
	case rules.Kind != yaml.SequenceNode || rules.Style&yaml.FlowStyle != 0:
		return nil, styleError(rules)
	default:
		// As the last rule is indented, before what comes after the rules.
		text = strings.ReplaceAll(nl+text, nl+"  ", nl+strings.Repeat(" ", rules.Column-1))[len(nl):]
		at := f.after(rules)
		if at == end {
			text = f.ending() + text
		}
		all = []splice{{at, at, text}}
	}
	out, err := apply(f.raw, all)
	if err != nil {
		return nil, err
	}
	fresh := [][]string{recipients}
	return f.accept(out, func(i int, r Rule) [][]string {
		if i == len(f.Rules) {
			return fresh
		}
		return r.Groups
	}, "", pathRegex)
}

// ending is what the last line lacks.
func (f *File) ending() string {
	if n := len(f.raw); n > 0 && f.raw[n-1] != '\n' {
		return f.newline()
	}
	return ""
}

// after gives where the lines of the rules end: at the next line that begins a key.
func (f *File) after(rules *yaml.Node) int {
	end := len(f.raw)
	for i := 0; i+1 < len(f.root.Content); i += 2 {
		if f.root.Content[i+1] == rules && i+2 < len(f.root.Content) {
			next := f.root.Content[i+2]
			end = f.line[next.Line-1]
		}
	}
	// Blank lines and comments of what comes next stay with it.
	for {
		from, _ := f.lineOf(max(end-1, 0))
		if text := strings.TrimSpace(string(f.raw[from:end])); end > 0 && (text == "" || text[0] == '#' && f.raw[from] == '#') {
			end = from
			continue
		}
		return end
	}
}

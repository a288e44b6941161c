package sopsconf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrEmpty is wrapped when an edit would leave a rule without a recipient.
var ErrEmpty = errors.New("would be left without a recipient")

// Add gives the file with a recipient at the end of these rules, called name. Rules
// that have it are left as they are. A rule with several key groups is an error: who
// is in which of them is not for a program to say.
func (f *File) Add(rules []int, recipient, name string) ([]byte, error) {
	var into []list
	for _, i := range rules {
		r := f.Rules[i]
		if slices.Contains(r.Recipients(), recipient) {
			continue
		}
		if len(r.Groups) > 1 {
			return nil, fmt.Errorf("line %d: the rule has %d key groups: add %s by hand to those that it belongs to", r.Line, len(r.Groups), recipient)
		}
		if len(r.lists) != 1 || len(r.lists[0].items) == 0 {
			return nil, fmt.Errorf("line %d: the rule has no one list of age recipients: add %s by hand", r.Line, recipient)
		}
		for j, other := range f.Rules {
			if !slices.Contains(rules, j) && slices.ContainsFunc(other.lists, func(l list) bool { return l.value == r.lists[0].value }) {
				return nil, fmt.Errorf("line %d: the rule shares its recipients with that of line %d: write them out first", r.Line, other.Line)
			}
		}
		into = append(into, r.lists[0])
	}
	return f.insert(into, func(l list) int { return len(l.items) - 1 }, recipient, name)
}

// Beside gives the file with a recipient after another, wherever that is.
func (f *File) Beside(old, recipient, name string) ([]byte, error) {
	var into []list
	for _, r := range f.Rules {
		for _, l := range r.lists {
			if l.index(old) >= 0 && l.index(recipient) < 0 {
				into = append(into, l)
			}
		}
	}
	return f.insert(into, func(l list) int { return l.index(old) }, recipient, name)
}

func (l list) index(recipient string) int {
	return slices.IndexFunc(l.items, func(it item) bool { return it.recipient == recipient })
}

func (f *File) insert(into []list, after func(list) int, recipient, name string) ([]byte, error) {
	if !plainRE.MatchString(recipient) || strings.ContainsAny(name, "\r\n") {
		return nil, fmt.Errorf("%.40q is no recipient", recipient)
	}
	var all []splice
	seen := map[*yaml.Node]bool{}
	var define *splice
	alias := ""
	for _, l := range into {
		if seen[l.value] {
			continue
		}
		seen[l.value] = true
		word := recipient
		if name != "" && slices.ContainsFunc(l.items, func(it item) bool { return it.node.Kind == yaml.AliasNode }) {
			if define == nil {
				define, alias = f.define(l, after(l), recipient, name)
			}
			if define != nil {
				word = "*" + alias
			}
		}
		s, err := f.put(l, after(l), word, name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if define != nil && define.text != "" {
		all = append(all, *define)
	}
	out, err := apply(f.raw, all)
	if err != nil {
		return nil, err
	}
	return f.accept(out, func(_ int, r Rule) [][]string {
		for _, l := range r.lists {
			if seen[l.value] {
				r.Groups[l.group] = append(r.Groups[l.group], recipient)
			}
		}
		return r.Groups
	}, recipient)
}

var plainRE = regexp.MustCompile(`^(age1[0-9a-z]+|ssh-[a-z0-9-]+ [A-Za-z0-9+/=]+)$`)

// put writes one recipient into a list.
func (f *File) put(l list, after int, word, name string) (splice, error) {
	if l.value.Kind == yaml.ScalarNode {
		spans, err := f.tokens(l.value, l.items)
		if err != nil {
			return splice{}, err
		}
		between := ","
		if n := len(spans); n > 1 {
			between = string(f.raw[spans[n-2][1]:spans[n-1][0]])
		} else if l.value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			from, _ := f.lineOf(spans[0][0])
			between = "," + f.newline() + string(f.raw[from:spans[0][0]])
		}
		return splice{spans[after][1], spans[after][1], between + word}, nil
	}
	n := l.items[after].node
	start, end, err := f.span(n)
	if err != nil {
		return splice{}, err
	}
	if l.value.Style&yaml.FlowStyle != 0 {
		from, _ := f.lineOf(start)
		between := ", "
		if before := string(f.raw[from:start]); strings.TrimSpace(before) == "" {
			between = "," + f.newline() + before
		}
		return splice{end, end, between + word}, nil
	}
	from, _ := f.lineOf(start)
	before := string(f.raw[from:start])
	if !dashRE.MatchString(before) {
		return splice{}, styleError(n)
	}
	if word[0] != '*' && name != "" {
		word += " # " + name // so that it is found again
	}
	return f.below(start, before+word), nil
}

// define makes an anchor for a recipient where the others are, before the list. An
// anchor that it has is taken; then there is nothing to write.
func (f *File) define(l list, after int, recipient, name string) (*splice, string) {
	for _, p := range f.places {
		if p.node.Value == recipient && p.node.Anchor != "" {
			return &splice{}, p.node.Anchor
		}
	}
	var at *place
	for i, p := range f.places {
		block := p.parent != nil && p.parent.Style&yaml.FlowStyle == 0
		if p.node.Anchor == "" || !block || p.node.Line >= l.value.Line {
			continue
		}
		at = &f.places[i]
		if p.node.Value == l.items[after].recipient && after < len(l.items)-1 {
			break
		}
	}
	if at == nil {
		return nil, ""
	}
	start, err := f.at(at.node)
	if err != nil {
		return nil, ""
	}
	anchor := f.free(name)
	from, _ := f.lineOf(start)
	before := string(f.raw[from:start])
	if at.key != nil {
		before = strings.Replace(before, at.key.Value, anchor, 1)
	}
	s := f.below(start, before+"&"+anchor+" "+recipient)
	return &s, anchor
}

// free makes a name an anchor that is not taken.
func (f *File) free(name string) string {
	dash := "_"
	for _, names := range f.names {
		if slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "-") && !strings.Contains(n, " ") }) {
			dash = "-"
		}
	}
	base := notAnchorRE.ReplaceAllString(strings.ReplaceAll(name, "-", dash), "_")
	anchor := base
	for n := 2; f.taken(anchor); n++ {
		anchor = fmt.Sprintf("%s%skey%d", base, dash, n)
	}
	return anchor
}

var notAnchorRE = regexp.MustCompile(`[^A-Za-z0-9_-]`)

func (f *File) taken(anchor string) bool {
	return regexp.MustCompile(`&` + regexp.QuoteMeta(anchor) + `(\s|$)`).Match(f.raw)
}

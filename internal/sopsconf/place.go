package sopsconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// splice replaces the bytes from start to end.
type splice struct {
	start, end int
	text       string
}

// styleError is a way of writing that is not edited here.
func styleError(n *yaml.Node) error {
	return fmt.Errorf("line %d: recipients are written in a way that is not edited here: change %s by hand", n.Line, Name)
}

// at gives the offset of a node, whose column counts characters.
func (f *File) at(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(f.line) {
		return 0, styleError(n)
	}
	at := f.line[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(f.raw[at:])
		if at += size; size == 0 {
			return 0, styleError(n)
		}
	}
	return at, nil
}

// lineOf gives the start of the line of an offset, and its end with the line feed.
func (f *File) lineOf(at int) (start, end int) {
	i, found := slices.BinarySearch(f.line, at)
	if !found {
		i--
	}
	end = len(f.raw)
	if i+1 < len(f.line) {
		end = f.line[i+1]
	}
	return f.line[i], end
}

var anchorRE = regexp.MustCompile(`^&\S+[ ]+`)

// span is the source of a scalar that is one word, or of an alias, with its anchor
// and quotes.
func (f *File) span(n *yaml.Node) (start, end int, err error) {
	if start, err = f.at(n); err != nil {
		return 0, 0, err
	}
	text := string(f.raw[start:])
	want := []string{"*" + n.Value}
	skip := 0
	if n.Kind != yaml.AliasNode {
		want = []string{n.Value, `"` + n.Value + `"`, "'" + n.Value + "'"}
		skip = len(anchorRE.FindString(text))
	}
	for _, w := range want {
		if rest, ok := strings.CutPrefix(text[skip:], w); ok && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n,]}#")) {
			return start, start + skip + len(w), nil
		}
	}
	return 0, 0, styleError(n)
}

// tokens are the sources of the recipients of a text with commas.
func (f *File) tokens(n *yaml.Node, items []item) (spans [][2]int, err error) {
	at, err := f.at(n)
	if err != nil {
		return nil, err
	}
	at += len(beforeTokensRE.FindString(string(f.raw[at:])))
	for _, it := range items {
		at += len(betweenRE.FindString(string(f.raw[at:])))
		if !strings.HasPrefix(string(f.raw[at:]), it.recipient) {
			return nil, styleError(n)
		}
		spans = append(spans, [2]int{at, at + len(it.recipient)})
		at += len(it.recipient)
	}
	return spans, nil
}

var (
	beforeTokensRE = regexp.MustCompile(`^(?:&\S+[ ]+)?(?:["']|[|>][-+0-9]*[ ]*(?:#[^\n]*)?\r?\n)?`)
	betweenRE      = regexp.MustCompile(`^[\s,]*`)
	dashRE         = regexp.MustCompile(`^[ ]*-[ ]+$`)
	restRE         = regexp.MustCompile(`^[ \t]*(?:,[ \t]*)?(?:#[^\n]*)?\r?\n?$`)
)

// newline is the file's.
func (f *File) newline() string {
	if strings.Contains(string(f.raw), "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// below inserts a line after that of an offset.
func (f *File) below(at int, text string) splice {
	_, end := f.lineOf(at)
	if end == len(f.raw) && (end == 0 || f.raw[end-1] != '\n') {
		return splice{end, end, f.newline() + text}
	}
	return splice{end, end, text + f.newline()}
}

// cutItem removes an item of a list, or a line of a mapping (with its key).
func (f *File) cutItem(n, parent, key *yaml.Node) (splice, error) {
	start, end, err := f.span(n)
	if err != nil {
		return splice{}, err
	}
	from, to := f.lineOf(start)
	before, after := string(f.raw[from:start]), string(f.raw[end:to])
	flow := parent.Style&yaml.FlowStyle != 0
	switch {
	case !restRE.MatchString(after) && !flow:
		return splice{}, styleError(n)
	case flow && strings.TrimSpace(before) == "" && restRE.MatchString(after):
		return splice{from, to, ""}, nil // on a line of its own
	case flow:
		return f.cutFlow(start, end, n)
	case parent.Kind == yaml.SequenceNode && dashRE.MatchString(before):
		return splice{from, to, ""}, nil
	case parent.Kind == yaml.MappingNode && key != nil && strings.TrimSpace(before) == key.Value+":":
		return splice{from, to, ""}, nil
	}
	return splice{}, styleError(n)
}

var (
	commaAfterRE  = regexp.MustCompile(`^[ \t]*,[ \t]*`)
	commaBeforeRE = regexp.MustCompile(`,\s*$`)
)

// cutFlow removes an item of [a, b] with one comma.
func (f *File) cutFlow(start, end int, n *yaml.Node) (splice, error) {
	if m := commaAfterRE.FindString(string(f.raw[end:])); m != "" {
		return splice{start, end + len(m), ""}, nil
	}
	if m := commaBeforeRE.FindString(string(f.raw[:start])); m != "" {
		return splice{start - len(m), end, ""}, nil
	}
	return splice{}, styleError(n)
}

func apply(raw []byte, all []splice) ([]byte, error) {
	slices.SortStableFunc(all, func(a, b splice) int { return a.start - b.start })
	var out []byte
	at := 0
	for _, s := range all {
		if s.start < at {
			return nil, fmt.Errorf("two changes meet: change %s by hand", Name)
		}
		out = append(append(out, raw[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, raw[at:]...), nil
}

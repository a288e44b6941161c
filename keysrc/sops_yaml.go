package keysrc

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// readYAML reads the block below a top-level "sops:" line. It knows the YAML
// that sops writes, at any indentation and as common formatters leave it: block
// mappings and lists, plain and quoted scalars, | and > text, [] and {}. It is
// no YAML parser: anything else in the block (anchors, tags, flow collections
// with content) is an error, never a guess. The rest of the file is not looked
// at.
func readYAML(content []byte) (map[string]any, error) {
	var p yamlBlock
	in := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, " \n")
		switch {
		case !in:
			in = sopsLine.MatchString(line)
		case line == "" || line[0] == ' ' || line[0] == '\t':
			p.lines = append(p.lines, line)
		case line[0] == '#':
			p.lines = append(p.lines, "")
		default:
			// The next top-level key or document.
			return p.read()
		}
	}
	if !in {
		return nil, ErrNotSOPS
	}
	return p.read()
}

var (
	sopsLine = regexp.MustCompile(`^(?:sops|"sops"|'sops') *:(?: +#.*)?$`)
	keyLine  = regexp.MustCompile(`^([A-Za-z0-9_.-]+|"[^"\\]*"|'[^']*') *:(?: +(.*))?$`)
	textLine = regexp.MustCompile(`^([|>])[-+0-9]{0,2}(?: +#.*)?$`)
)

const maxDepth = 16

// yamlBlock walks over the lines of one block.
type yamlBlock struct {
	lines []string
	at    int
}

func (p *yamlBlock) read() (map[string]any, error) {
	indent, ok := p.next()
	if !ok || indent == 0 {
		return nil, ErrNotSOPS
	}
	v, err := p.value(indent, 0)
	if _, more := p.next(); more && err == nil {
		err = errors.New("is indented less than the first line")
	}
	if err != nil {
		// A program's own "sops:" settings may be any YAML; metadata is not.
		if !strings.Contains(strings.Join(p.lines, "\n"), "lastmodified:") && !strings.Contains(strings.Join(p.lines, "\n"), "BEGIN AGE ENCRYPTED FILE") {
			return nil, ErrNotSOPS
		}
		return nil, fmt.Errorf("sops metadata, line %d of it: %w", p.at+1, err)
	}
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, ErrNotSOPS
	}
	return tree, nil
}

// next skips blank and comment lines and gives the indentation of the line that
// follows.
func (p *yamlBlock) next() (indent int, ok bool) {
	for ; p.at < len(p.lines); p.at++ {
		text := strings.TrimLeft(p.lines[p.at], " ")
		if text != "" && text[0] != '#' {
			return len(p.lines[p.at]) - len(text), true
		}
	}
	return 0, false
}

// value reads the mapping or list whose lines have this indentation.
func (p *yamlBlock) value(indent, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested over %d deep", maxDepth)
	}
	if isItem(p.lines[p.at][indent:]) {
		return p.list(indent, depth)
	}
	return p.mapping(indent, depth)
}

func isItem(text string) bool { return text == "-" || strings.HasPrefix(text, "- ") }

func (p *yamlBlock) list(indent, depth int) (any, error) {
	out := []any{}
	for {
		got, ok := p.next()
		if !ok || got < indent || got == indent && !isItem(p.lines[p.at][indent:]) {
			return out, nil
		}
		if got > indent {
			return nil, errors.New("is indented unlike the list it is in")
		}
		// "- key: value" is a mapping that begins two or more columns further.
		line := p.lines[p.at]
		p.lines[p.at] = line[:indent] + " " + line[indent+1:]
		inner, ok := p.next()
		if !ok || inner <= indent {
			return nil, errors.New("is an empty list item")
		}
		if !isItem(p.lines[p.at][inner:]) && !keyLine.MatchString(p.lines[p.at][inner:]) {
			s, err := p.scalar(strings.TrimSpace(p.lines[p.at]), indent)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
			continue
		}
		v, err := p.value(inner, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
}

func (p *yamlBlock) mapping(indent, depth int) (any, error) {
	out := map[string]any{}
	for {
		got, ok := p.next()
		if !ok || got < indent {
			return out, nil
		}
		text := p.lines[p.at][got:]
		m := keyLine.FindStringSubmatch(text)
		if got > indent || m == nil {
			return nil, fmt.Errorf("%q is not \"key: value\" at its place", clip(text))
		}
		key := strings.Trim(m[1], `"'`)
		if _, ok := out[key]; ok {
			return nil, fmt.Errorf("%q is there twice", clip(key))
		}
		if m[2] != "" && m[2][0] != '#' {
			s, err := p.scalar(m[2], indent)
			if err != nil {
				return nil, err
			}
			out[key] = s
			continue
		}
		p.at++
		inner, ok := p.next()
		// A list may stand at its key's own indentation.
		if !ok || inner < indent || inner == indent && !isItem(p.lines[p.at][inner:]) {
			out[key] = nil
			continue
		}
		v, err := p.value(inner, depth+1)
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
}

// scalar reads a value that begins with text on the current line and may go on
// below, deeper than indent.
func (p *yamlBlock) scalar(text string, indent int) (any, error) {
	p.at++
	if m := textLine.FindStringSubmatch(text); m != nil {
		return p.text(m[1] == ">", indent), nil
	}
	switch text[0] {
	case '[', '{':
		if text == "[]" {
			return []any{}, nil
		} else if text == "{}" {
			return map[string]any{}, nil
		}
		return nil, fmt.Errorf("%q is YAML that sops does not write", clip(text))
	case '&', '*', '!', '%', '@', '`', '|', '>':
		return nil, fmt.Errorf("%q is YAML that sops does not write", clip(text))
	}
	// Folded over several lines by a formatter.
	for {
		got, ok := p.next()
		if !ok || got <= indent {
			break
		}
		text += " " + strings.TrimSpace(p.lines[p.at])
		p.at++
	}
	return unquoteYAML(text)
}

// text reads the lines of a | or > scalar. Text that was folded comes back with
// a line feed only where there was an empty line.
func (p *yamlBlock) text(folded bool, indent int) string {
	var out []string
	for ; p.at < len(p.lines); p.at++ {
		text := strings.TrimLeft(p.lines[p.at], " ")
		if text != "" && len(p.lines[p.at])-len(text) <= indent {
			break
		}
		// Armour has no indented lines, so all leading blanks are YAML's.
		out = append(out, text)
	}
	if !folded {
		return strings.TrimRight(strings.Join(out, "\n"), "\n") + "\n"
	}
	s := strings.ReplaceAll(strings.Join(out, "\n"), "\n\n", "\x00")
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "\x00", "\n")
}

func unquoteYAML(s string) (any, error) {
	switch {
	case s[0] == '"':
		// What sops escapes (\n, \", \\, \t, \uXXXX), JSON escapes alike. A
		// backslash before a folded line end is YAML's alone and fails here.
		var out string
		if err := json.Unmarshal([]byte(s), &out); err != nil {
			return nil, fmt.Errorf("%q is not a quoted string that can be read", clip(s))
		}
		return out, nil
	case s[0] == '\'':
		if len(s) < 2 || s[len(s)-1] != '\'' {
			return nil, fmt.Errorf("%q has no closing quote", clip(s))
		}
		return strings.ReplaceAll(s[1:len(s)-1], "''", "'"), nil
	}
	if plain, _, ok := strings.Cut(s, " #"); ok {
		s = strings.TrimSpace(plain)
	}
	if s == "null" || s == "~" {
		return nil, nil
	}
	return s, nil
}

package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// nixParser reads the few words of Nix that settings need: sets, lists,
// strings, whole numbers, true and false.
type nixParser struct{ rest string }

var (
	spaceRE  = regexp.MustCompile(`^(\s|#[^\n]*(\n|$))*`)
	nameRE   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_'-]*`)
	numberRE = regexp.MustCompile(`^-?[0-9]+`)
	stringRE = regexp.MustCompile(`^"([^"\\]|\\.)*"`)
)

func (p *nixParser) skip() { p.rest = p.rest[len(spaceRE.FindString(p.rest)):] }

func (p *nixParser) take(word string) bool {
	p.skip()
	ok := strings.HasPrefix(p.rest, word)
	if ok {
		p.rest = p.rest[len(word):]
	}
	return ok
}

func (p *nixParser) match(re *regexp.Regexp) string {
	p.skip()
	m := re.FindString(p.rest)
	p.rest = p.rest[len(m):]
	return m
}

func (p *nixParser) want(word string) error {
	if !p.take(word) {
		return fmt.Errorf("want %q before %.30q", word, p.rest)
	}
	return nil
}

// document is a whole set, or only what is in one.
func (p *nixParser) document() (map[string]any, error) {
	braces := p.take("{")
	set, err := p.bindings()
	if err == nil && braces {
		err = p.want("}")
	}
	if p.skip(); err == nil && p.rest != "" {
		err = fmt.Errorf("%.30q is too much", p.rest)
	}
	return set, err
}

func (p *nixParser) bindings() (map[string]any, error) {
	set := map[string]any{}
	for {
		p.skip()
		if p.rest == "" || p.rest[0] == '}' {
			return set, nil
		}
		at, name := set, ""
		for {
			var err error
			if name, err = p.name(); err != nil {
				return nil, err
			}
			if !p.take(".") {
				break
			}
			if at[name] == nil {
				at[name] = map[string]any{}
			}
			next, ok := at[name].(map[string]any)
			if !ok {
				return nil, fmt.Errorf("%q is there twice", name)
			}
			at = next
		}
		if err := p.want("="); err != nil {
			return nil, err
		}
		v, err := p.value()
		if err == nil {
			err = p.want(";")
		}
		if _, twice := at[name]; twice && err == nil {
			err = fmt.Errorf("%q is there twice", name)
		}
		if err != nil {
			return nil, err
		}
		at[name] = v
	}
}

func (p *nixParser) name() (string, error) {
	if s := p.match(nameRE); s != "" {
		return s, nil
	}
	return p.text()
}

func (p *nixParser) text() (s string, err error) {
	m := p.match(stringRE)
	if m == "" {
		return "", fmt.Errorf("want a name or a string before %.30q", p.rest)
	}
	if strings.Contains(m, "${") {
		return "", fmt.Errorf("%s: interpolation", m)
	}
	// The escapes that settings use are the same in JSON.
	return s, json.Unmarshal([]byte(m), &s)
}

func (p *nixParser) value() (any, error) {
	switch {
	case p.take("{"):
		set, err := p.bindings()
		if err == nil {
			err = p.want("}")
		}
		return set, err
	case p.take("["):
		list := []any{}
		for !p.take("]") {
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	if n := p.match(numberRE); n != "" {
		return json.Number(n), nil
	}
	switch word := p.match(nameRE); word {
	case "":
		return p.text()
	case "true", "false":
		return word == "true", nil
	default:
		return nil, fmt.Errorf("%q is neither a string, a number, a list, a set, true nor false", word)
	}
}

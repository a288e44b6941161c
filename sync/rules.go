package sync

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// RulesPath is where a team says who may do what; KeysDir holds the OpenPGP
// certificates of signers. Both are optional.
const (
	RulesPath = PolicyDir + "/policy"
	KeysDir   = PolicyDir + "/keys"
)

// Rules are the policy of one commit: who signs, who may change that, and whose
// word a host needs before it deploys. Without a policy file every listed signer
// may do everything alone.
type Rules struct {
	Signers *Signers
	Admin   Quorum       // who may change .pullnode
	Deploy  []DeployRule // the first that matches a host decides; none is a refusal
	groups  map[string][]string
}

// Quorum asks for the signatures of this many of these people.
type Quorum struct {
	Members []string // principals; nil means every listed signer
	Need    int
}

// DeployRule says whose word the hosts of a pattern need.
type DeployRule struct {
	Pattern string // of host names; * stands for any characters
	Quorum
}

// ParseRules reads the policy files of a commit, by path. What it does not know,
// and what nobody could ever fulfil, is an error that names file and line.
//
// Format: docs/trust.md.
func ParseRules(files map[string][]byte) (*Rules, error) {
	raw, ok := files[SignersPath]
	if !ok {
		return nil, fmt.Errorf("there is no %s", SignersPath)
	}
	s, err := ParseSigners(raw)
	if err != nil {
		return nil, err
	}
	if err := s.certificates(files); err != nil {
		return nil, err
	}
	r := &Rules{Signers: s}
	raw, ok = files[RulesPath]
	if !ok {
		r.Admin = Quorum{Need: 1}
		r.Deploy = []DeployRule{{"*", Quorum{Need: 1}}}
		return r, nil
	}
	if len(raw) > maxPolicy {
		return nil, fmt.Errorf("%s is %d bytes, at most %d are read", RulesPath, len(raw), maxPolicy)
	}
	r.groups = map[string][]string{}
	p := rulesParser{rules: r, groups: r.groups}
	for i, line := range strings.Split(string(raw), "\n") {
		f, err := words(line, "#")
		if err == nil && len(f) > 0 {
			err = p.line(f)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", RulesPath, i+1, err)
		}
	}
	if r.Admin.Need == 0 {
		return nil, fmt.Errorf("%s has no admin line, so nobody could ever change it", RulesPath)
	}
	return r, nil
}

type rulesParser struct {
	rules  *Rules
	groups map[string][]string
}

var (
	plainName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]*$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9*?][A-Za-z0-9*?._-]*$`)
)

func (p *rulesParser) line(f []string) (err error) {
	verb, f := f[0], f[1:]
	switch verb {
	case "group":
		return p.group(f)
	case "admin":
		if p.rules.Admin.Need != 0 {
			return fmt.Errorf("a second admin line")
		}
		p.rules.Admin, err = p.quorum(f)
		return err
	case "deploy":
		if len(f) < 2 {
			return fmt.Errorf("want: deploy <hosts> <group> [need <n>]")
		}
		if !hostPattern.MatchString(f[0]) || len(f[0]) > 253 || strings.Count(f[0], "*") > 4 {
			return fmt.Errorf("%q is no pattern of host names", f[0])
		}
		q, err := p.quorum(f[1:])
		if err != nil {
			return err
		}
		p.rules.Deploy = append(p.rules.Deploy, DeployRule{f[0], q})
		return nil
	}
	return fmt.Errorf("unknown word %q (group, admin and deploy are known)", verb)
}

func (p *rulesParser) group(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("want: group <name> <members>")
	}
	name := f[0]
	switch {
	case !plainName.MatchString(name) || name == "need":
		return fmt.Errorf("%q is no name of a group", name)
	case p.groups[name] != nil:
		return fmt.Errorf("a second group %q", name)
	case slices.Contains(p.rules.Signers.principals(), name):
		return fmt.Errorf("%q is a signer already, a group needs another name", name)
	}
	members, err := p.members(f[1:])
	p.groups[name] = members
	return err
}

// members resolves names: of a group, with or without @ before it, or of a
// signer. A name that is neither may belong to somebody who has left
// allowed_signers; it counts for nothing.
func (p *rulesParser) members(names []string) ([]string, error) {
	out := []string{}
	for _, n := range names {
		group, isGroup := strings.CutPrefix(n, "@")
		list, known := p.groups[group]
		switch {
		case known:
			out = append(out, list...)
		case isGroup:
			return nil, fmt.Errorf("there is no group %q above this line", group)
		case !plainName.MatchString(n) || n == "need":
			return nil, fmt.Errorf("%q is no name", n)
		default:
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (p *rulesParser) quorum(f []string) (Quorum, error) {
	q := Quorum{Need: 1}
	if i := slices.Index(f, "need"); i >= 0 {
		n := 0
		if i == len(f)-2 {
			n, _ = strconv.Atoi(f[i+1])
		}
		if n < 1 || strconv.Itoa(n) != f[len(f)-1] {
			return q, fmt.Errorf("want \"need\" and a number above 0 at the end of the line")
		}
		q.Need, f = n, f[:i]
	}
	if len(f) == 0 {
		return q, fmt.Errorf("whose signatures count is missing")
	}
	var err error
	if q.Members, err = p.members(f); err != nil {
		return q, err
	}
	able := 0
	for _, who := range p.rules.Signers.principals() {
		if slices.Contains(q.Members, who) {
			able++
		}
	}
	if able < q.Need {
		return q, fmt.Errorf("%d needed, but only %d of %s can sign", q.Need, able, strings.Join(f, " "))
	}
	return q, nil
}

// Has says whether somebody's signature counts.
func (q Quorum) Has(principal string) bool {
	return q.Members == nil || slices.Contains(q.Members, principal)
}

// For gives what decides about a host; ok is false where no rule does.
func (r *Rules) For(host string) (rule DeployRule, ok bool) {
	for _, d := range r.Deploy {
		if matchHost(d.Pattern, host) {
			return d, true
		}
	}
	return DeployRule{}, false
}

// matchHost matches * and ? in patterns of a few characters.
func matchHost(pattern, host string) bool {
	if pattern == "" {
		return host == ""
	}
	switch pattern[0] {
	case '*':
		pattern = strings.TrimLeft(pattern, "*")
		for i := 0; i <= len(host); i++ {
			if matchHost(pattern, host[i:]) {
				return true
			}
		}
		return false
	case '?':
		return host != "" && matchHost(pattern[1:], host[1:])
	}
	return host != "" && host[0] == pattern[0] && matchHost(pattern[1:], host[1:])
}

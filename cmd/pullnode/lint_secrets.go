package main

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"pullnode/internal/sopsconf"
	"pullnode/keysrc"
)

// secretLint is what a commit says about who opens what.
type secretLint struct {
	conf  *sopsconf.File
	metas []keysrc.Meta
	envs  map[string]string   // of each host: its environment, or ""
	pins  map[string][]string // of a recipient: hosts whose settings pin it
	add   func(format string, args ...any)
	note  func(format string, args ...any)
}

var (
	environmentRE = regexp.MustCompile(`\benvironment\s*=\s*"([A-Za-z0-9_-]+)"\s*;`)
	commentRE     = regexp.MustCompile(`(?m)#.*$|(?s:/\*.*?\*/)`)
	pinRE         = regexp.MustCompile(`"(age1[0-9a-z]{50,})"`)
	peopleRE      = regexp.MustCompile(`^(recovery|operator|admin|user)s?([_-]|$)`)
)

// see notes what a file of the commit says.
func (s *secretLint) see(name string, raw []byte) {
	parts := strings.Split(name, "/")
	if len(parts) > 2 && parts[0] == "hosts" {
		if _, ok := s.envs[parts[1]]; !ok {
			s.envs[parts[1]] = ""
		}
		text := string(raw)
		if path.Ext(name) == ".nix" {
			text = commentRE.ReplaceAllString(text, "")
			for _, m := range pinRE.FindAllStringSubmatch(text, -1) {
				s.pins[m[1]] = append(s.pins[m[1]], parts[1])
			}
		}
		if len(parts) == 3 && parts[2] == "host.nix" {
			if m := environmentRE.FindStringSubmatch(text); m != nil {
				s.envs[parts[1]] = m[1]
			} else if strings.Contains(text, "environment") && !strings.Contains(text, "environment = null;") {
				s.add("%s: the environment is not written as plain text (environment = \"…\";), so that nothing about it can be proved", name)
			}
		}
	}
	if ext := path.Ext(name); ext == ".nix" || ext == ".md" || name == sopsconf.Name {
		return
	}
	// What cannot be read as one is leaks' to tell.
	if m, err := keysrc.ReadMeta(name, raw); err == nil {
		s.metas = append(s.metas, m)
	}
}

// subject is a file, or one that a rule is for, and who opens it.
type subject struct {
	name       string
	recipients []string
	rule       int // whose recipients these are, or -1
}

func (u subject) String() string {
	if u.rule > 0 {
		return fmt.Sprintf("%s (by the rule in line %d of %s)", u.name, u.rule, sopsconf.Name)
	}
	return u.name
}

// run judges when everything was seen.
func (s *secretLint) run() {
	if s.conf == nil || len(s.conf.Rules) == 0 {
		return
	}
	all := s.subjects()
	s.environments(all)
	s.recovery()
	s.example(all)
	for i, r := range s.conf.Rules {
		if is, some := quantum(r.Recipients()); some && !is {
			s.note("%s line %d: post-quantum and other recipients: the secrets are as strong as the others", sopsconf.Name, s.conf.Rules[i].Line)
		}
	}
}

// subjects are all files, those that rules are for and that are not there yet, and the
// rule of a file that has other recipients than it says; these are reported here.
func (s *secretLint) subjects() (all []subject) {
	seen := map[string]bool{}
	type place struct {
		rule int
		env  string
	}
	told := map[place]bool{} // what another subject says too
	ruled := func(name string) {
		if i, ok := s.conf.Match(name); ok && !told[place{i, s.environment(name)}] {
			told[place{i, s.environment(name)}] = true
			all = append(all, subject{name, s.conf.Rules[i].Recipients(), s.conf.Rules[i].Line})
		}
	}
	for _, m := range s.metas {
		seen[m.Name] = true
		has := recipientsOf(m)
		all = append(all, subject{m.Name, has, -1})
		i, ok := s.conf.Match(m.Name)
		if !ok {
			s.add("%s: %s has no rule for it", m.Name, sopsconf.Name)
			continue
		}
		want := s.conf.Rules[i].Recipients()
		extra, missing := s.less(has, want), s.less(want, has)
		if extra == "" && missing == "" {
			told[place{i, s.environment(m.Name)}] = true
			continue
		}
		ruled(m.Name)
		what := m.Name + ": "
		if extra != "" {
			what += "is encrypted for " + extra + ", which " + sopsconf.Name + " does not name for it; "
		}
		if missing != "" {
			what += "is not encrypted for " + missing + "; "
		}
		s.add("%ssops updatekeys -y %s", what, m.Name)
	}
	for _, host := range slices.Sorted(maps.Keys(s.envs)) {
		probes := []string{secretsOf(host)}
		if s.envs[host] != "" {
			probes = append(probes, "secrets/"+s.envs[host]+".yaml")
		}
		for _, name := range probes {
			if !seen[name] {
				seen[name] = true
				ruled(name)
			}
		}
	}
	return all
}

// less names what of a is not in b.
func (s *secretLint) less(a, b []string) string {
	var names []string
	for _, r := range a {
		if !slices.Contains(b, r) {
			names = append(names, nameOf(s.conf, r))
		}
	}
	return strings.Join(names, ", ")
}

// environment of a file: that of the host whose it is by its place, or the one that it
// is named after below secrets/.
func (s *secretLint) environment(name string) string {
	top, rest, _ := strings.Cut(name, "/")
	if top == "hosts" {
		host, _, _ := strings.Cut(rest, "/")
		return s.envs[host]
	}
	best, env := "", ""
	for host, of := range s.envs {
		for word, means := range map[string]string{host: of, of: of} {
			after, ok := strings.CutPrefix(rest, word)
			if top == "secrets" && word != "" && ok && (after == "" || strings.ContainsRune(".-_@/", rune(after[0]))) && len(word) > len(best) {
				best, env = word, means
			}
		}
	}
	return env
}

// hostOf is the host that a recipient is of, by its settings or a name.
func (s *secretLint) hostOf(recipient string) (string, bool) {
	if hosts := s.pins[recipient]; len(hosts) > 0 {
		return hosts[0], true
	}
	for _, host := range slices.Sorted(maps.Keys(s.envs)) {
		if ownedBy(s.conf, host, recipient) {
			return host, true
		}
	}
	return "", false
}

// environments proves that what a host opens is of its environment. The key of a host
// is among the recipients of its own file, so each of these is taken for a host's,
// unless it is named as of people and no host pins it.
func (s *secretLint) environments(all []subject) {
	opens := map[string][]subject{}
	for _, u := range all {
		if env := s.environment(u.name); env != "" {
			for _, r := range u.recipients {
				opens[r] = append(opens[r], u)
			}
		}
	}
	for _, r := range slices.Sorted(maps.Keys(opens)) {
		host, known := s.hostOf(r)
		if !known && slices.ContainsFunc(s.conf.Names(r), peopleRE.MatchString) {
			continue
		}
		first := opens[r][0]
		for _, u := range opens[r] {
			env := s.environment(u.name)
			switch {
			case known && env != s.envs[host]:
				s.add("%s is of %s: the key %s of hosts/%s, which is of %s, opens it", u, env, nameOf(s.conf, r), host, orNone(s.envs[host]))
			case !known && env != s.environment(first.name):
				s.add("%s is of %s, and %s of %s: the key %s opens both; a person's is named operator…, admin…, user… or recovery…", u, env, first, s.environment(first.name), nameOf(s.conf, r))
			}
		}
	}
}

func orNone(env string) string {
	if env == "" {
		return "no environment"
	}
	return env
}

// recovery finds what no recovery key opens.
func (s *secretLint) recovery() {
	is := func(r string) bool {
		return slices.ContainsFunc(s.conf.Names(r), func(n string) bool { return strings.HasPrefix(n, "recovery") })
	}
	if !slices.ContainsFunc(s.conf.Recipients(), is) {
		s.note("%s names no recovery key (an anchor &recovery): pullnode recovery init", sopsconf.Name)
		return
	}
	for _, r := range s.conf.Rules {
		if len(r.Recipients()) > 0 && !slices.ContainsFunc(r.Recipients(), is) {
			s.add("%s line %d: no recovery key opens what the rule is for", sopsconf.Name, r.Line)
		}
	}
	for _, m := range s.metas {
		if !slices.ContainsFunc(recipientsOf(m), is) {
			s.add("%s: no recovery key opens it", m.Name)
		}
	}
}

package main

import (
	"cmp"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pullnode/internal/sopsconf"
)

// join says which secrets a host is to open, beside its own.
type join struct {
	host   string
	also   string // files that it shares with others
	with   string // who else opens its own, where there is no rule for them
	shared bool
	// successor says that the host has a key, which the new one stands beside.
	successor bool
}

func (j *join) flags(fs *flag.FlagSet) {
	fs.StringVar(&j.also, "also", "", "files that it shares with other hosts, separated by commas")
	fs.StringVar(&j.with, "with", "", "who opens its secrets beside it, where .sops.yaml has no rule for them: anchors or recipients, separated by commas")
	fs.BoolVar(&j.shared, "shared", false, "the rule for its secrets may be that of other hosts' secrets too")
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// rules finds the rules that the host's recipient belongs into, and makes one where
// there is none.
func (j *join) rules(r *secretRepo) ([]int, error) {
	if !hostNameRE.MatchString(j.host) {
		return nil, usageError("%q is no host name: lower case letters, digits and hyphens", j.host)
	}
	rules, err := r.rulesOf(j.host, j.shared)
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 {
		var with []string
		for _, w := range words(j.with) {
			a, ok := r.conf.Resolve(w)
			if !ok {
				return nil, usageError("--with %s: %s has no such anchor", w, sopsconf.Name)
			}
			with = append(with, a)
		}
		if len(with) == 0 {
			return nil, hint(fmt.Errorf("%s has no rule for %s", sopsconf.Name, secretsOf(j.host)), "say who else opens it, at least an operator and the recovery key: --with "+strings.Join(r.people(), ","))
		}
		if err := r.take(r.conf.AddRule("^"+regexp.QuoteMeta(secretsOf(j.host))+"$", with)); err != nil {
			return nil, err
		}
		rules = []int{len(r.conf.Rules) - 1}
	}
	for _, name := range words(j.also) {
		i, ok := r.conf.Match(name)
		if !ok {
			return nil, usageError("--also %s: %s has no rule for it", name, sopsconf.Name)
		}
		if !slices.Contains(rules, i) {
			rules = append(rules, i)
		}
	}
	return rules, nil
}

// people are the anchors that are no host's.
func (r *secretRepo) people() (names []string) {
	for _, a := range r.conf.Recipients() {
		if !slices.ContainsFunc(r.host, func(h string) bool { return r.owns(h, a) }) {
			names = append(names, r.called(a))
		}
	}
	return names
}

// called is what to call a recipient.
func (r *secretRepo) called(recipient string) string { return nameOf(r.conf, recipient) }

func nameOf(conf *sopsconf.File, recipient string) string {
	if names := conf.Names(recipient); len(names) > 0 {
		return names[0]
	}
	if len(recipient) > 70 {
		return recipient[:24] + "..." + recipient[len(recipient)-8:]
	}
	return recipient
}

// fresh is an error when the host has another key already.
func (j *join) fresh(r *secretRepo, recipient string) error {
	for _, a := range r.keysOf(j.host) {
		if !j.successor && a != recipient {
			to := cmp.Or(recipient, "RECIPIENT")
			return hint(fmt.Errorf("%s has a key already: %s", j.host, a), "to replace it: pullnode key rotate "+j.host+" --to "+to)
		}
	}
	for _, h := range r.host {
		if recipient != "" && h != j.host && r.owns(h, recipient) {
			return fmt.Errorf("%s is the key of %s: each host has one of its own", recipient, h)
		}
	}
	return nil
}

// do adds the recipient and updates the files.
func (j *join) do(r *secretRepo, rules []int, recipient string) error {
	if err := r.take(r.conf.Add(rules, recipient, j.host)); err != nil {
		return err
	}
	files, err := r.due(rules)
	if err != nil {
		return err
	}
	if err := r.write(); err != nil {
		return err
	}
	for _, i := range rules {
		var who []string
		for _, a := range r.conf.Rules[i].Recipients() {
			who = append(who, r.called(a))
		}
		fmt.Fprintf(r.out, "rule     %s: %s\n", cmp.Or(r.conf.Rules[i].PathRegex, "every other file"), strings.Join(who, ", "))
	}
	r.note(rules)
	return r.update(files)
}

// quantum says whether all of these recipients are post-quantum.
func quantum(recipients []string) (all, some bool) {
	all = len(recipients) > 0
	for _, a := range recipients {
		is := strings.HasPrefix(a, "age1pq1") || strings.HasPrefix(a, "age1tagpq1")
		all, some = all && is, some || is
	}
	return all, some
}

func (r *secretRepo) note(rules []int) {
	for _, i := range rules {
		if all, some := quantum(r.conf.Rules[i].Recipients()); some && !all {
			fmt.Fprintf(r.out, "note     %s is for post-quantum and other recipients: it is as strong as the others\n", cmp.Or(r.conf.Rules[i].PathRegex, "every other file"))
		}
	}
}

package sync

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// forgeKeys sign for every user of a forge.
var forgeKeys = map[string]string{
	"openpgp4fpr:5DE3E0509C47EA3CF04A42D34AEE18F83AFDEB23": "GitHub",
	"openpgp4fpr:968479A1AFF927E37D1A566BB5690EEEBB952194": "GitHub",
}

// isForgeKey takes a fingerprint, or the words that stand for a signature with no
// more than a key id.
func isForgeKey(fingerprint string) bool {
	id, short := strings.CutPrefix(fingerprint, pgpKeyID)
	for fp := range forgeKeys {
		if fp == fingerprint || short && strings.HasSuffix(fp, id) {
			return true
		}
	}
	return false
}

var botName = regexp.MustCompile(`(?i)(^|[-_.@])(bots?|ci|updater|renovate|dependabot|actions)([-_.@]|$)`)

// Lint says what is wrong with a policy beyond what makes it no policy: who could
// be locked out by the loss of one key, and who may do alone what he should not.
// With recovery there is a recovery key, which brings a lost quorum back. One line
// each.
func Lint(files map[string][]byte, recovery bool) (found []string) {
	r, err := ParseRules(files)
	if err != nil {
		return []string{err.Error()}
	}
	for _, fp := range slices.Sorted(maps.Keys(r.Signers.byKey)) {
		who := r.Signers.byKey[fp]
		if forge, ok := forgeKeys[fp]; ok {
			found = append(found, fmt.Sprintf("the key of %s is the one that %s signs with for all of its users", who, forge))
		}
		left := maps.Clone(r.Signers.byKey)
		delete(left, fp)
		able := 0
		for _, p := range slices.Compact(slices.Sorted(maps.Values(left))) {
			if r.Admin.Has(p) {
				able++
			}
		}
		if able < r.Admin.Need && !recovery {
			found = append(found, fmt.Sprintf("whoever loses %s of %s locks everybody out: list another key, or give the nodes a recoveryKey", fp, who))
		}
	}
	for _, n := range r.absent() {
		found = append(found, fmt.Sprintf("%q in %s is neither a group nor in %s, so it counts for nothing", n, RulesPath, SignersPath))
	}
	for _, who := range r.Signers.principals() {
		if !botName.MatchString(who) && !r.inBotGroup(who) {
			continue
		}
		if r.Admin.Need == 1 && r.Admin.Has(who) {
			found = append(found, fmt.Sprintf("%s seems to be a bot, and may change %s alone, so it is root on every host", who, PolicyDir))
		}
		for _, d := range r.Deploy {
			if (d.Pattern == "*" || strings.Contains(d.Pattern, "prod")) && d.Need == 1 && d.Has(who) {
				found = append(found, fmt.Sprintf("%s seems to be a bot, and may deploy to %s alone", who, d.Pattern))
			}
		}
	}
	return found
}

// absent gives the members of groups and quorums who are no signers.
func (r *Rules) absent() []string {
	named := slices.Concat(slices.Collect(maps.Values(r.groups))...)
	named = append(named, r.Admin.Members...)
	for _, d := range r.Deploy {
		named = append(named, d.Members...)
	}
	slices.Sort(named)
	signers := r.Signers.principals()
	return slices.DeleteFunc(slices.Compact(named), func(n string) bool { return slices.Contains(signers, n) })
}

func (r *Rules) inBotGroup(who string) bool {
	for name, members := range r.groups {
		if botName.MatchString(name) && slices.Contains(members, who) {
			return true
		}
	}
	return false
}

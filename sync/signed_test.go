package sync

import (
	"strings"
	"testing"
)

// Whoever merges in a forge gets the command that vouches for it, by the forge's
// name or by its key, with a whole fingerprint or a key id only.
func TestForgeMergeNamesTheCommand(t *testing.T) {
	const command = "pullnode endorse main --onto deploy --push"
	for _, c := range []struct {
		committer, key string
		want           bool
	}{
		{"GitHub <noreply@github.com>", "openpgp4fpr:0000000000000000000000000000000000000000", true},
		{"web-flow <x@example.org>", "openpgp4fpr:968479A1AFF927E37D1A566BB5690EEEBB952194", true},
		{"web-flow <x@example.org>", "openpgp key B5690EEEBB952194", true},
		{"web-flow <x@example.org>", "openpgp key 5690EEEBB9521940", false},
		{"alice <alice@example.org>", "SHA256:x", false},
	} {
		err := (&judge{}).unknown(&Commit{Committer: c.committer}, c.key, &Signers{})
		if got := strings.Contains(err.(*refusal).Hint, command); got != c.want {
			t.Errorf("%s, %s: hint %q", c.committer, c.key, err.(*refusal).Hint)
		}
	}
}

package sync

import (
	"slices"
	"testing"
)

func TestTrailers(t *testing.T) {
	for message, want := range map[string][]string{
		"subject\n\nPullnode-Retire: lab\n":                                   {"lab"},
		"subject\n\nbody\n\nPullnode-Retire: a\nPullnode-Retire:  b \n\n":     {"a", "b"},
		"Pullnode-Retire: lab":                                                nil, // the only paragraph
		"subject\n\nPullnode-Retire: lab\n\nbody":                             nil, // not the last one
		"subject\n\npullnode-retire: lab\n Pullnode-Retire: lab\nX: y":        nil,
		"subject\n\nHe wrote\nPullnode-Retire: lab\nand left":                 nil, // quoted in prose
		"subject\n\nsome prose\nPullnode-Retire: lab\n":                       nil,
		"subject\n\nPullnode-Retire: lab\n(cherry picked from commit 12)\n":   {"lab"},
		"subject\n\nX: long\n  line\nPullnode-Retire: lab\n":                  {"lab"},
		"subject\n\nSigned-off-by: x\nPullnode-Retire: lab\nReviewed-by: z\n": {"lab"},
	} {
		if got := (&Commit{Message: message}).Trailers("Pullnode-Retire"); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

package sync

import (
	"regexp"
	"strconv"
	"strings"
)

// The trailers that the rule reads.
const (
	endorseTrailer = "Pullnode-Endorse"
	resetTrailer   = "Pullnode-Reset"
)

// trailerLine is a line that may stand among trailers: one itself, the rest of
// one, or what git cherry-pick -x writes there.
var trailerLine = regexp.MustCompile(`^([A-Za-z0-9-]+[ \t]*:|[ \t]|\(cherry picked from commit )`)

// Trailers gives the values of a trailer, as they stand in the last paragraph of
// the message, which must not be its only one and have nothing but trailers: what
// prose quotes vouches for nothing.
//
// Format: git-interpret-trailers(1), one line each.
func (c *Commit) Trailers(name string) (values []string) {
	message := strings.TrimRight(c.Message, "\n")
	i := strings.LastIndex(message, "\n\n")
	if i < 0 {
		return nil
	}
	for _, l := range strings.Split(message[i+2:], "\n") {
		if !trailerLine.MatchString(l) {
			return nil
		}
		if v, ok := strings.CutPrefix(l, name+": "); ok {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// endorsed gives the commits that c vouches for. Less than a full id names
// nothing: it could come to mean another commit.
func (c *Commit) endorsed() (ids []ID) {
	for _, v := range c.Trailers(endorseTrailer) {
		if isID(v) {
			ids = append(ids, ID(v))
		}
	}
	return ids
}

// resetSeq gives the number of the reset that c asks for, 0 when it is none.
func (c *Commit) resetSeq() uint64 {
	v := c.Trailers(resetTrailer)
	if len(v) != 1 {
		return 0
	}
	n, err := strconv.ParseUint(v[0], 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != v[0] {
		return 0
	}
	return n
}

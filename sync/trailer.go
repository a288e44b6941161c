package sync

import (
	"strconv"
	"strings"
)

// The trailers that the rule reads.
const (
	endorseTrailer = "Pullnode-Endorse"
	resetTrailer   = "Pullnode-Reset"
)

// Trailers gives the values of a trailer, as they stand in the last paragraph of
// the message, which must not be its only one.
//
// Format: git-interpret-trailers(1), one line each.
func (c *Commit) Trailers(name string) (values []string) {
	i := strings.LastIndex(strings.TrimRight(c.Message, "\n"), "\n\n")
	if i < 0 {
		return nil
	}
	for _, l := range strings.Split(c.Message[i:], "\n") {
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

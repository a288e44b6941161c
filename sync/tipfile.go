package sync

import (
	"fmt"
	"io/fs"
	"strings"
)

// TipFile gives one regular file of the tip's tree, for a reader who asks a
// repository for content and judges no signature: the bytes have the hash that
// the tip's id names, and nothing more is known of them. A path that is not
// there wraps fs.ErrNotExist; one that is a link or a directory is an error.
func (s *Stream) TipFile(path string, limit int64) ([]byte, error) {
	tip, ok := s.commits[ID(s.Header.Tip)]
	if !ok || !s.tipDone {
		return nil, malformed("the tip's tree is missing")
	}
	at, parts := tip.Tree, strings.Split(path, "/")
	for i, name := range parts {
		entries, err := s.tree(at)
		if err != nil {
			return nil, err
		}
		e, ok := find(entries, name)
		last := i == len(parts)-1
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		case last && e.mode != modeTree && e.mode != modeSymlink && e.mode != modeSubmodul:
			if p := s.index[e.id]; p.size > limit {
				return nil, fmt.Errorf("%s: is over %d bytes", path, limit)
			}
			return s.body(e.id, "blob")
		case last || e.mode != modeTree:
			return nil, fmt.Errorf("%s: is no regular file", path)
		}
		at = e.id
	}
	return nil, fs.ErrInvalid
}

package sync

import (
	"fmt"
	"strings"
	"unicode"
)

// A policy is kept in the node's state, certificates included, so it must be small.
const (
	maxPolicyFiles = 256
	maxPolicyBytes = 256 << 10 // all together
)

// words splits a line of a policy file at spaces and tabs, as OpenSSH does, up to
// a comment, where one may stand behind words. What some reader would take for
// another space or the end of a line is refused, in comments too.
func words(line, comment string) ([]string, error) {
	line = strings.TrimRight(line, "\r")
	for _, r := range line {
		if r != '\t' && !unicode.IsPrint(r) {
			return nil, fmt.Errorf("the character %q is not accepted", r)
		}
	}
	if comment != "" {
		line, _, _ = strings.Cut(line, comment)
	}
	return strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }), nil
}

// policy gives the policy files of a commit. The same map is the same directory;
// the one of the commit before is not read again.
func (j *judge) policy(c *Commit) (map[string][]byte, error) {
	entries, err := j.s.tree(c.Tree)
	if err != nil {
		return nil, err
	}
	dir, ok := find(entries, PolicyDir)
	switch {
	case !ok:
		return nil, fmt.Errorf("commit %s has no %s", c.ID.Short(), SignersPath)
	case dir.mode != modeTree:
		return nil, fmt.Errorf("%s is not a directory in %s", PolicyDir, c.ID.Short())
	}
	if dir.id == j.read.id {
		return j.read.files, nil
	}
	files := map[string][]byte{}
	if err := j.s.policyDir(dir.id, PolicyDir, files); err != nil {
		return nil, fmt.Errorf("commit %s: %w", c.ID.Short(), err)
	}
	if files[SignersPath] == nil {
		return nil, fmt.Errorf("commit %s has no %s", c.ID.Short(), SignersPath)
	}
	total := 0
	for _, b := range files {
		total += len(b)
	}
	if total > maxPolicyBytes {
		return nil, fmt.Errorf("commit %s: the files in %s have %d bytes together, at most %d are read", c.ID.Short(), PolicyDir, total, maxPolicyBytes)
	}
	j.read = policyRead{dir.id, files}
	return files, nil
}

// policyRead is a policy directory as it was read last.
type policyRead struct {
	id    ID
	files map[string][]byte
}

// policyDir reads a directory of policy files: plain files, and certificates one
// level below. Nothing else may be in it, so that nothing in it is overlooked.
func (s *Stream) policyDir(id ID, path string, files map[string][]byte) error {
	entries, err := s.tree(id)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path + "/" + e.name
		switch {
		case e.mode == modeTree && name == KeysDir:
			if err := s.policyDir(e.id, name, files); err != nil {
				return err
			}
			continue
		case e.mode == modeTree && path == PolicyDir && name != SignersPath && name != RulesPath:
			continue // somebody else's
		case e.mode != modeFile:
			return fmt.Errorf("%s is not a plain file", name)
		case len(files) == maxPolicyFiles:
			return fmt.Errorf("%s has more than %d files", PolicyDir, maxPolicyFiles)
		}
		b, err := s.body(e.id, "blob")
		if err != nil {
			return err
		}
		if len(b) > maxPolicy {
			return fmt.Errorf("%s is %d bytes, at most %d are read", name, len(b), maxPolicy)
		}
		files[name] = b
	}
	return nil
}

package fetch

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"pullnode/sync"
)

// writeAnswer writes the object stream that answers w for tip, in the order that
// sync.StreamHeader documents, and puts it at path in one step. A tip that is
// not new, because T's parents already reach it, gives a stream of its header
// alone.
func (r *repo) writeAnswer(path, tip string, w sync.Want) error {
	h := &history{r: r, seen: map[string]links{}}
	p, err := h.plan(tip, w)
	if err != nil {
		return err
	}
	part := partOf(path)
	os.Remove(part) // as in replace
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return local("write the answer", err)
	}
	s := &streamer{h: h, out: bufio.NewWriterSize(f, 256<<10), left: r.lim.Answer, sent: map[string]bool{}, full: map[string]bool{}}
	err = s.all(tip, w.Request, p)
	if err == nil {
		err = local("write the answer", errors.Join(s.out.Flush(), f.Chmod(0o600)))
	}
	if cerr := f.Close(); err == nil {
		err = local("write the answer", cerr)
	}
	if err == nil {
		err = local("write the answer", os.Rename(part, path))
	}
	if err != nil {
		os.Remove(part)
	}
	return err
}

type streamer struct {
	h    *history
	out  *bufio.Writer
	left int64
	open int64 // bytes of the trees that are being walked
	sent map[string]bool
	full map[string]bool // trees below which everything was sent
}

func (s *streamer) all(tip string, request uint64, p plan) error {
	if _, err := io.WriteString(s.out, sync.StreamHeader{Request: request, Tip: tip}.String()); err != nil {
		return local("write the answer", err)
	}
	for _, id := range p.origin {
		if _, err := s.object(id, "commit"); err != nil {
			return err
		}
	}
	news := p.news
	if p.trusted != "" {
		news = append([]string{p.trusted}, news...)
	}
	for _, id := range news {
		if err := s.commit(id); err != nil {
			return err
		}
	}
	if !s.sent[tip] {
		return nil
	}
	l, err := s.h.links(tip)
	if err != nil {
		return err
	}
	return s.below(l.tree, 0)
}

// commit writes a commit, its root tree and its policy.
func (s *streamer) commit(id string) error {
	if _, err := s.object(id, "commit"); err != nil {
		return err
	}
	l, err := s.h.links(id)
	if err != nil {
		return err
	}
	root, err := s.object(l.tree, "tree")
	if err != nil {
		return err
	}
	entries, err := readTree(l.tree, root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.name == sync.PolicyDir && e.mode == modeTree {
			return s.below(e.id, 1)
		}
	}
	return nil
}

// below writes a tree and everything under it that was not written before. A
// tree that was done in full is not walked again, or a few trees that repeat
// each other would never end.
func (s *streamer) below(id string, depth int) error {
	if s.full[id] {
		return nil
	}
	if depth > s.h.r.lim.Depth {
		return fail(sync.OverLimit, "directories are nested deeper than %d", s.h.r.lim.Depth)
	}
	body, err := s.object(id, "tree")
	if err != nil {
		return err
	}
	// A tree is held while what is below it is written, so trees in trees, each
	// as large as it may be, would fill the memory.
	if s.open += int64(len(body)); s.open > 2*s.h.r.lim.Tree {
		return fail(sync.OverLimit, "directories in directories are larger than %d bytes together", 2*s.h.r.lim.Tree)
	}
	defer func() { s.open -= int64(len(body)) }()
	entries, err := readTree(id, body)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.mode {
		case modeSubmodule: // not in this repository; the exporter refuses it by name
		case modeTree:
			err = s.below(e.id, depth+1)
		default:
			if !s.sent[e.id] {
				_, err = s.object(e.id, "blob")
			}
		}
		if err != nil {
			return err
		}
	}
	s.full[id] = true
	return nil
}

// object gives an object's content and writes its record if that is not there.
func (s *streamer) object(id, want string) ([]byte, error) {
	kind, body, err := s.h.r.object(id)
	if err != nil {
		return nil, err
	}
	if kind != want {
		return nil, fail(sync.BadData, "%s is a %s where a %s belongs", id, kind, want)
	}
	if s.sent[id] {
		return body, nil
	}
	s.sent[id] = true
	if s.left -= int64(len(body)) + 80; s.left < 0 {
		return nil, fail(sync.OverLimit, "the answer would be larger than the limit allows")
	}
	_, err = fmt.Fprintf(s.out, "%s %s %d\n", id, kind, len(body))
	if err == nil {
		_, err = s.out.Write(body)
	}
	if err == nil {
		err = s.out.WriteByte('\n')
	}
	return body, local("write the answer", err)
}

// Modes of tree entries that matter to the order.
const (
	modeTree      = "40000"
	modeSubmodule = "160000"
)

type treeEntry struct{ mode, name, id string }

// readTree splits a tree object and judges nothing else of it.
func readTree(id string, b []byte) ([]treeEntry, error) {
	var entries []treeEntry
	for len(b) > 0 {
		sp, nul := bytes.IndexByte(b, ' '), bytes.IndexByte(b, 0)
		if sp < 0 || nul < sp || len(b) < nul+21 {
			return nil, fail(sync.BadData, "tree %s is cut short", id)
		}
		entries = append(entries, treeEntry{string(b[:sp]), string(b[sp+1 : nul]), hex.EncodeToString(b[nul+1 : nul+21])})
		b = b[nul+21:]
	}
	return entries, nil
}

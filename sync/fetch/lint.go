package fetch

import (
	"bufio"
	"bytes"
	"crypto/sha1" // of git's pack format: it finds damage, nothing is trusted by it
	"encoding/binary"
	"errors"
	"io"
	"os"

	"pullnode/sync"
)

// Object types in a pack, as in git's Documentation/gitformat-pack.
const (
	packCommit = 1
	packTree   = 2
	packBlob   = 3
	packTag    = 4
	packOfs    = 6
	packRef    = 7
)

// lint reads a pack from front to back and refuses one whose declared sizes are
// over the limits, before anything resolves a delta: a few bytes of deltas can
// declare gigabytes. It checks every declared size against what is there. It
// gives the number of objects.
func lint(f *os.File, lim Limits) (int, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, local("read the pack", err)
	}
	l := &linter{lim: lim, in: &counted{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, st.Size()), 128<<10)}, at: map[int64]packed{}}
	var head [12]byte
	if _, err := io.ReadFull(l.in, head[:]); err != nil {
		return 0, badPack(err)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return 0, fail(sync.BadData, "the pack does not begin like one")
	}
	count := binary.BigEndian.Uint32(head[8:])
	if int64(count) > int64(lim.Objects) {
		return 0, fail(sync.OverLimit, "the pack has %d objects, more than %d", count, lim.Objects)
	}
	for range count {
		if err := l.object(); err != nil {
			return 0, err
		}
	}
	if l.in.n+20 != st.Size() {
		return 0, fail(sync.BadData, "the pack does not end after its last object")
	}
	return int(count), checksum(f, st.Size()-20)
}

// checksum compares the last 20 bytes of a pack with what they must be. go-git
// takes them as they are.
func checksum(f *os.File, size int64) error {
	sum, end := sha1.New(), make([]byte, 20)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return local("read the pack", err)
	}
	if _, err := f.ReadAt(end, size); err != nil {
		return local("read the pack", err)
	}
	if !bytes.Equal(end, sum.Sum(nil)) {
		return fail(sync.BadData, "the pack's checksum is not that of its content")
	}
	return nil
}

type packed struct {
	kind  byte // of the resolved object; 0 when only resolving tells
	size  int64
	depth int
}

type linter struct {
	lim   Limits
	in    *counted
	z     io.ReadCloser
	total int64
	at    map[int64]packed
}

func badPack(err error) error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return &Error{Class: sync.BadData, Text: oneLine("the pack is damaged: " + err.Error()), Err: err}
}

// object checks one entry of the pack.
func (l *linter) object() error {
	start := l.in.n
	kind, size, err := l.header()
	if err != nil {
		return badPack(err)
	}
	o := packed{kind: kind, size: size}
	var base packed
	switch kind {
	case packCommit, packTree, packBlob, packTag:
	case packOfs:
		back, err := l.offset()
		if err != nil {
			return badPack(err)
		}
		var ok bool
		if base, ok = l.at[start-back]; !ok {
			return fail(sync.BadData, "the pack has a delta whose base is not in it")
		}
		o.kind = base.kind
		if o.depth = base.depth + 1; o.depth > l.lim.Chain {
			return fail(sync.OverLimit, "the pack has deltas on deltas, more than %d deep", l.lim.Chain)
		}
	case packRef:
		var id [20]byte
		if _, err := io.ReadFull(l.in, id[:]); err != nil {
			return badPack(err)
		}
		o.kind = 0
	default:
		return fail(sync.BadData, "the pack has an object of the unknown type %d", kind)
	}
	if err := l.admit(size); err != nil {
		return err
	}
	delta := kind == packOfs || kind == packRef
	if !delta {
		if err := l.allow(o.kind, size); err != nil {
			return err
		}
	}
	from, to, err := l.inflate(size, delta)
	if err != nil {
		return badPack(err)
	}
	if delta {
		if kind == packOfs && from != base.size {
			return fail(sync.BadData, "the pack has a delta that does not fit its base")
		}
		if o.size = to; to < 0 {
			return fail(sync.OverLimit, "the pack declares an object of more than %d bytes", l.lim.Object)
		}
		if err := l.admit(to); err != nil {
			return err
		}
		if err := l.allow(o.kind, to); err != nil {
			return err
		}
	}
	l.at[start] = o
	return nil
}

// admit counts bytes that resolving the pack will have to make.
func (l *linter) admit(size int64) error {
	if size < 0 || size > l.lim.Object {
		return fail(sync.OverLimit, "the pack declares an object of %d bytes, more than %d", size, l.lim.Object)
	}
	if l.total += size; l.total > l.lim.Inflated {
		return fail(sync.OverLimit, "the pack declares more than %d bytes in all", l.lim.Inflated)
	}
	return nil
}

// allow knows what each type may weigh.
func (l *linter) allow(kind byte, size int64) error {
	limit, name := l.lim.Object, "object"
	switch kind {
	case packCommit, packTag:
		limit, name = l.lim.Commit, "commit"
	case packTree:
		limit, name = l.lim.Tree, "tree"
	}
	if size > limit {
		return fail(sync.OverLimit, "the pack declares a %s of %d bytes, more than %d", name, size, limit)
	}
	return nil
}

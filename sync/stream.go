package sync

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ErrStale is what ReadStream returns for an answer to an older request or in
// another format: dropped without a word and asked for again.
var ErrStale = errors.New("answer to another request")

// streamError is a MALFORMED or LIMIT verdict about the stream itself.
type streamError struct {
	verdict VerdictName
	text    string
	commit  ID // that cannot be read; empty where the fault is in no commit
}

func (e *streamError) Error() string { return e.text }

// blame names the commit whose objects were being read.
func blame(err error, commit ID) error {
	var e *streamError
	if errors.As(err, &e) && e.commit == "" {
		e.commit = commit
	}
	return err
}

func malformed(format string, args ...any) error {
	return &streamError{verdict: Malformed, text: "object stream: " + fmt.Sprintf(format, args...)}
}

func overLimit(format string, args ...any) error {
	return &streamError{verdict: Limit, text: fmt.Sprintf(format, args...)}
}

// Spool is where a stream is copied to while it is hashed: a file of root's
// own, so that what is judged is what is exported.
type Spool interface {
	io.Writer
	io.ReaderAt
}

type place struct {
	kind   string
	offset int64
	size   int64
}

// Stream is an object stream after it was hashed: every record has the id that
// it claims, and the records came in the documented order. Nothing is judged.
type Stream struct {
	Header  StreamHeader
	commits map[ID]*Commit
	order   []ID // the new commits, parents first; T not among them
	hasT    bool // parts 1 and 2 were there
	origin  []ID // T's ancestors as sent
	index   map[ID]place
	spool   Spool
	lim     Limits
	tipDone bool
}

// body reads one object back from the copy. Its hash was checked on the way in
// and the copy is root's own; it is checked again by export.
func (s *Stream) body(id ID, kind string) ([]byte, error) {
	p, ok := s.index[id]
	if !ok {
		return nil, malformed("%s %s is missing", kind, id.Short())
	}
	if p.kind != kind {
		return nil, malformed("%s is a %s, want a %s", id.Short(), p.kind, kind)
	}
	b := make([]byte, p.size)
	if _, err := s.spool.ReadAt(b, p.offset); err != nil {
		return nil, fmt.Errorf("read back the answer: %w", err)
	}
	return b, nil
}

func (s *Stream) tree(id ID) ([]entry, error) {
	b, err := s.body(id, "tree")
	if err != nil {
		return nil, err
	}
	return parseTree(b)
}

// walk shows f what is reachable from heads, each id once, with nil where the
// stream has no such commit. It goes on to the parents where f answers true.
func (s *Stream) walk(heads []ID, f func(ID, *Commit) bool) {
	seen := map[ID]bool{}
	for stack := slices.Clone(heads); len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c := s.commits[id]; !seen[id] {
			seen[id] = true
			if f(id, c) && c != nil {
				stack = append(stack, c.Parents...)
			}
		}
	}
}

// reader pulls records in the one order that is legal.
type reader struct {
	*Stream
	in     *bufio.Reader
	at     int64 // offset in the spool
	before int64 // bytes of records before the tip's tree
	peeked *record
	eof    bool
	open   int         // entries of the trees that are being read
	full   map[ID]bool // trees below which everything was read
	roots  map[ID]ID   // root tree -> its policy directory, "" where it has none
}

type record struct {
	id   ID
	kind string
	body []byte
	off  int64
}

// StreamReader says what the node already has when it reads a stream.
type StreamReader struct {
	Want   Want
	Limits Limits
	Spool  Spool
}

// Read copies an object stream into the spool and hashes it on the way, once,
// front to back. It gives ErrStale for another request's answer and a verdict
// error for anything that is not exactly such a stream.
func (sr StreamReader) Read(in io.Reader) (*Stream, error) {
	lim := sr.Limits.withDefaults()
	s := &Stream{commits: map[ID]*Commit{}, index: map[ID]place{}, spool: sr.Spool, lim: lim}
	r := &reader{Stream: s, in: bufio.NewReaderSize(io.LimitReader(in, lim.Stream+1), 256<<10),
		full: map[ID]bool{}, roots: map[ID]ID{}}
	if err := r.header(sr.Want); err != nil {
		return nil, err
	}
	if err := r.history(sr.Want); err != nil {
		return nil, err
	}
	if r.tipDone {
		if err := r.below(s.commits[ID(s.Header.Tip)].Tree, 0); err != nil {
			return nil, err
		}
	}
	rec, err := r.peek()
	if err != nil {
		return nil, err
	}
	if rec != nil {
		return nil, malformed("%s %s is referenced by nothing", rec.kind, rec.id.Short())
	}
	return s, nil
}

func (r *reader) line() (string, error) {
	b, err := r.in.ReadSlice('\n')
	if err == io.EOF && len(b) == 0 {
		return "", io.EOF
	}
	if err != nil || len(b) > 256 {
		return "", malformed("a header line is cut short or too long")
	}
	r.at += int64(len(b))
	if r.at > r.lim.Stream {
		return "", overLimit("the answer is over %d bytes", r.lim.Stream)
	}
	if _, err := r.spool.Write(b); err != nil {
		return "", fmt.Errorf("copy the answer: %w", err)
	}
	return string(b[:len(b)-1]), nil
}

func (r *reader) header(want Want) error {
	l, err := r.line()
	if err == io.EOF {
		return ErrStale
	}
	if err != nil {
		return err
	}
	f := strings.Split(l, " ")
	if len(f) != 4 || f[0] != "pullnode-stream" {
		return malformed("it does not begin with its header")
	}
	if f[1] != strconv.Itoa(StreamFormat) {
		return ErrStale
	}
	n, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil || !isID(f[3]) {
		return malformed("its header is damaged")
	}
	if n != want.Request {
		return ErrStale
	}
	r.Header = StreamHeader{Request: n, Tip: f[3]}
	return nil
}

// peek reads the next record without using it up; nil at the end.
func (r *reader) peek() (*record, error) {
	if r.peeked != nil || r.eof {
		return r.peeked, nil
	}
	l, err := r.line()
	if err == io.EOF {
		r.eof = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := strings.Split(l, " ")
	if len(f) != 3 || !isID(f[0]) {
		return nil, malformed("a record header is damaged")
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size < 0 {
		return nil, malformed("a record has no size")
	}
	if size > r.lim.Object || (f[1] == "commit" && size > maxCommit) || (f[1] == "tree" && size > maxTree) {
		err := overLimit("%s %s is %d bytes, over the limit", f[1], f[0][:7], size)
		if f[1] == "commit" {
			err = blame(err, ID(f[0]))
		}
		return nil, err
	}
	if !r.tipDone {
		if r.before += size; r.before > r.lim.Records {
			return nil, overLimit("more than %d bytes of commits and policy in one answer", r.lim.Records)
		}
	}
	body := make([]byte, size+1)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return nil, malformed("it ends inside %s %s", f[1], f[0][:7])
	}
	if body[size] != '\n' {
		return nil, malformed("%s %s is longer than it says", f[1], f[0][:7])
	}
	rec := &record{id: ID(f[0]), kind: f[1], body: body[:size], off: r.at}
	if _, err := r.spool.Write(body); err != nil {
		return nil, fmt.Errorf("copy the answer: %w", err)
	}
	r.at += size + 1
	if r.at > r.lim.Stream {
		return nil, overLimit("the answer is over %d bytes", r.lim.Stream)
	}
	switch rec.kind {
	case "commit", "tree", "blob":
	default:
		return nil, malformed("a record of the type %.20q", rec.kind)
	}
	id, err := hashObject(rec.kind, rec.body)
	if err != nil {
		return nil, malformed("%v", err)
	}
	if id != rec.id {
		return nil, malformed("%s %s has the id %s", rec.kind, rec.id.Short(), id.Short())
	}
	if _, dup := r.index[id]; dup {
		return nil, malformed("%s %s is there twice", rec.kind, id.Short())
	}
	r.index[id] = place{rec.kind, rec.off, size}
	r.peeked = rec
	return rec, nil
}

// next takes the record that must come now.
func (r *reader) next(id ID, kind string) (*record, error) {
	rec, err := r.peek()
	if err != nil {
		return nil, err
	}
	if rec == nil {
		return nil, malformed("%s %s is missing", kind, id.Short())
	}
	if rec.id != id || rec.kind != kind {
		return nil, malformed("%s %s where %s %s belongs", rec.kind, rec.id.Short(), kind, id.Short())
	}
	r.peeked = nil
	return rec, nil
}

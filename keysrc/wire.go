package keysrc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"pullnode/internal/registry"
)

// A message on the socket is its length, four bytes, big-endian, and that many
// bytes of JSON with no unknown field. A connection carries any number of
// requests, each answered before the next is read.

// frameLimit fits the metadata of some 1,000 files for one post-quantum
// recipient each (5 kB).
const frameLimit = 8 << 20

// The verbs. There is deliberately none that gives or drops the identity: the
// keys process drops it by itself, or when it is stopped.
const (
	verbPreflight = "preflight"
	verbUnwrap    = "unwrap"
	verbAwait     = "await" // an unwrap of nothing: is the key there?
	verbState     = "state" // asks no source
)

type request struct {
	Verb    string   `json:"verb"`
	Files   []Meta   `json:"files,omitempty"`   // preflight
	Stanzas []stanza `json:"stanzas,omitempty"` // unwrap
}

// stanza is age.Stanza with JSON names.
type stanza struct {
	Type string   `json:"type"`
	Args []string `json:"args,omitempty"`
	Body []byte   `json:"body,omitempty"`
}

type response struct {
	Error string `json:"error,omitempty"`
	Class class  `json:"class,omitempty"`

	Results    []Result `json:"results,omitempty"`    // preflight
	Recipients []string `json:"recipients,omitempty"` // preflight: public halves of the key
	FileKey    []byte   `json:"fileKey,omitempty"`    // unwrap: opens one file, not the identity
	State      *Holding `json:"state,omitempty"`      // state
}

// class carries over the socket what errors.Is must find on its other side.
type class string

const (
	classDenied  class = "denied"
	classRequest class = "bad-request"
	classAbsent  class = "absent"
	classNotNow  class = "temporary"
	classWrong   class = "wrong-key"
	classCorrupt class = "corrupt"
	classNoMatch class = "no-match"
	classFailed  class = "failed"
)

func classOf(err error) class {
	switch {
	case errors.Is(err, ErrWrongKey):
		return classWrong
	case errors.Is(err, ErrTemporary):
		return classNotNow
	case errors.Is(err, ErrAbsent):
		return classAbsent
	case errors.Is(err, ErrDenied):
		return classDenied
	case errors.Is(err, ErrCorrupt):
		return classCorrupt
	case errors.Is(err, age.ErrIncorrectIdentity):
		return classNoMatch
	}
	return classFailed
}

// remoteError is an error of the agent's as the client gives it.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func (r response) err() error {
	if r.Class == "" && r.Error == "" {
		return nil
	}
	is := map[class]error{
		classDenied: ErrDenied, classAbsent: ErrAbsent, classNotNow: ErrTemporary, classWrong: ErrWrongKey,
		classCorrupt: ErrCorrupt, classNoMatch: age.ErrIncorrectIdentity,
	}[r.Class]
	return &remoteError{r.Error, is}
}

func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > frameLimit {
		return fmt.Errorf("message is over %d bytes", frameLimit)
	}
	// One write, so that a message is never half sent for want of a scheduler.
	msg := append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...)
	defer clear(body)
	defer clear(msg)
	_, err = w.Write(msg)
	return err
}

// readFrame gives io.EOF only when the other side closed between messages.
func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > frameLimit {
		return fmt.Errorf("message of %d bytes, want 1 to %d", n, frameLimit)
	}
	// Grows with what arrives: a length alone costs no memory.
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	defer clear(body)
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return io.ErrUnexpectedEOF
	}
	return registry.Strict(body, v)
}

package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Schema is the newest schema that this program writes.
const Schema = 1

// sizeLimit bounds each file: a longer one is damage, not state.
const sizeLimit = 8 << 20

// codec turns a body of one schema into today's types and back.
type codec struct {
	encode func(any) (json.RawMessage, error)
	decode func(json.RawMessage, any) error
}

// codecs holds every schema that this program still reads and writes. A new
// schema needs its older ones here: until the new system is committed the old
// agent must be able to read what the new one wrote. Every schema keeps "attempt"
// where and as schema 1 has it: by that an older agent can put back what is in
// flight, which is the one thing that it may do.
type codecs map[int]codec

var builtin = codecs{1: {
	encode: func(v any) (json.RawMessage, error) { return json.Marshal(v) },
	decode: func(raw json.RawMessage, v any) error { return json.Unmarshal(raw, v) },
}}

func (c codecs) newest() (n int) {
	for k := range c {
		n = max(n, k)
	}
	return n
}

// envelope is what each file holds. The sum is over the compact body, so a
// file that was pretty-printed is still whole and one with a flipped bit is
// not. Schema and counter are in it: a flipped counter would decide which of
// two files is younger.
type envelope struct {
	Schema  int             `json:"schema"`
	Counter uint64          `json:"counter"`
	Sum     string          `json:"sha256"`
	Body    json.RawMessage `json:"body"`
}

func (e envelope) sum() (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d %d ", e.Schema, e.Counter)
	if err := json.Compact(&b, e.Body); err != nil {
		return "", err
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:]), nil
}

func (c codecs) encode(schema int, counter uint64, v any) ([]byte, error) {
	cd, ok := c[schema]
	if !ok {
		return nil, fmt.Errorf("cannot write schema %d", schema)
	}
	body, err := cd.encode(v)
	if err != nil {
		return nil, err
	}
	e := envelope{Schema: schema, Counter: counter, Body: body}
	if e.Sum, err = e.sum(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if len(raw) >= sizeLimit {
		return nil, fmt.Errorf("state is %d bytes, the limit is %d", len(raw), sizeLimit)
	}
	return append(raw, '\n'), nil
}

// open checks the envelope. The sum is checked before the schema, so damage in
// the schema number is damage and not a newer agent.
func open(raw []byte) (e envelope, err error) {
	if len(raw) > sizeLimit {
		return e, fmt.Errorf("over %d bytes", sizeLimit)
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, err
	}
	if e.Schema < 1 || len(e.Body) == 0 {
		return e, errors.New("no schema or no body")
	}
	sum, err := e.sum()
	if err != nil {
		return e, err
	}
	if sum != e.Sum {
		return e, errors.New("checksum differs")
	}
	return e, nil
}

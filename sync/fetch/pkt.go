package fetch

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"pullnode/sync"
)

// The special packets of git's Documentation/gitprotocol-common.
const (
	flushPkt = "0000"
	delimPkt = "0001"
)

// pkt gives one packet with s as its payload.
func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

type pktKind int

const (
	pktData pktKind = iota
	pktFlush
	pktOther // delimiter, response end
)

// pktReader reads packets up to a total number of bytes.
type pktReader struct {
	in   *bufio.Reader
	left int64
	what string
	buf  []byte
}

func newPktReader(r io.Reader, limit int64, what string) *pktReader {
	return &pktReader{in: bufio.NewReaderSize(r, 4096), left: limit, what: what}
}

// next gives the next packet; its data is valid until the next call. An ERR
// packet of the server is an error.
func (p *pktReader) next() (pktKind, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, cut(p.what, err)
	}
	n, err := strconv.ParseUint(string(head[:]), 16, 16)
	if err != nil {
		return 0, nil, fail(sync.BadData, "%s: %q is no packet length: this is no git server", p.what, head[:])
	}
	if p.left -= max(int64(n), 4); p.left < 0 {
		return 0, nil, fail(sync.OverLimit, "%s: the server sends more than is allowed", p.what)
	}
	switch {
	case n == 0:
		return pktFlush, nil, nil
	case n < 4:
		return pktOther, nil, nil
	}
	if p.buf == nil {
		p.buf = make([]byte, 0, 1024)
	}
	if cap(p.buf) < int(n-4) {
		p.buf = make([]byte, n-4)
	}
	p.buf = p.buf[:n-4]
	if _, err := io.ReadFull(p.in, p.buf); err != nil {
		return 0, nil, cut(p.what, err)
	}
	if text, ok := strings.CutPrefix(string(p.buf[:min(len(p.buf), 512)]), "ERR "); ok {
		return 0, nil, serverSays(text)
	}
	return pktData, p.buf, nil
}

// cut makes an early end bad data and leaves network errors as they are.
func cut(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &Error{Class: sync.BadData, Text: what + ": the server's answer is cut short", Err: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// serverSays classifies an error text of git or of a forge.
func serverSays(text string) error {
	low := strings.ToLower(text)
	c := sync.ServerError
	for _, s := range []struct {
		has string
		is  sync.Class
	}{
		{"not appear to be a git repository", sync.NotFound}, {"not found", sync.NotFound}, {"does not exist", sync.NotFound},
		{"no such", sync.NotFound}, {"permission denied", sync.AuthFailed}, {"access denied", sync.AuthFailed},
		{"not authorized", sync.AuthFailed}, {"dubious ownership", sync.AuthFailed}, {"rate limit", sync.Throttled},
	} {
		if strings.Contains(low, s.has) {
			c = s.is
			break
		}
	}
	return fail(c, "the server says: %s", text)
}

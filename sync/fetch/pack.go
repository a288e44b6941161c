package fetch

import (
	"context"
	"io"
	"strings"

	"pullnode/sync"
)

// Pack implements Remote.
func (c *Client) Pack(ctx context.Context, a Ask, w io.Writer) (err error) {
	for _, id := range append([]string{a.Want}, a.Have...) {
		if !isID(id) {
			return fail(Internal, "%.60q is no commit id", id)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.lim.Fetch, errDeadline)
	defer cancel()
	ctx, idle := c.meter.allow(ctx, c.lim.listings()+c.lim.packets())
	defer idle()
	ctx, stop := c.meter.watch(ctx, c.lim)
	defer stop()
	s, adv, err := c.begin(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = c.end(ctx, s, "fetch", err) }()
	r, err := s.ask(adv.fetchBody(a))
	if err != nil {
		return err
	}
	p := newPktReader(r, c.lim.packets(), "pack")
	out := &capped{w: w, left: c.lim.Pack}
	if adv.version == "v2" {
		err = packSection(p)
	} else {
		err = acknowledged(p)
		if err == nil && !adv.has("side-band-64k") {
			_, err = io.Copy(out, p.in)
			return err
		}
	}
	if err != nil {
		return err
	}
	return sideBand(p, out, c.lim.Side)
}

// packSection reads up to the line after which a v2 pack begins. Sections that
// were not asked for are refused: a shallow-info would cut the history.
func packSection(p *pktReader) error {
	kind, b, err := p.next()
	if err != nil {
		return err
	}
	if name := strings.TrimSuffix(string(b), "\n"); kind != pktData || name != "packfile" {
		return fail(sync.BadData, "pack: the server sends a section %.40q that was not asked for", name)
	}
	return nil
}

// acknowledged reads the one ACK or NAK that goes before a v0 pack.
func acknowledged(p *pktReader) error {
	kind, b, err := p.next()
	if err != nil {
		return err
	}
	if s := string(b); kind != pktData || s != "NAK\n" && !strings.HasPrefix(s, "ACK ") {
		return fail(sync.BadData, "pack: the server answers %.40q where NAK belongs", s)
	}
	return nil
}

// sideBand unpacks the multiplexed answer: band 1 is the pack, 2 text for
// people, 3 a fatal error. See gitprotocol-pack.
func sideBand(p *pktReader, w io.Writer, text int64) error {
	for {
		kind, b, err := p.next()
		switch {
		case err != nil:
			return err
		case kind == pktFlush:
			return nil
		case kind != pktData || len(b) == 0:
			return fail(sync.BadData, "pack: a packet without a band")
		}
		switch b[0] {
		case 1:
			// An empty one now and then keeps a connection alive.
			if len(b) == 1 {
				if text -= 5; text < 0 {
					return fail(sync.OverLimit, "pack: the server sends too many empty packets")
				}
			}
			if _, err := w.Write(b[1:]); err != nil {
				return err
			}
		case 2:
			if text -= int64(len(b)); text < 0 {
				return fail(sync.OverLimit, "pack: the server sends too much progress text")
			}
		case 3:
			return serverSays(string(b[1:]))
		default:
			return fail(sync.BadData, "pack: unknown band %d", b[0])
		}
	}
}

// capped is a writer that refuses to take more than it may.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(b []byte) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		return 0, fail(sync.OverLimit, "the pack is larger than the limit allows")
	}
	n, err := c.w.Write(b)
	if err != nil {
		err = &Error{Class: local("", err).(*Error).Class, Text: oneLine("write the pack: " + err.Error()), Err: err}
	}
	return n, err
}

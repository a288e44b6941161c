package fetch

import (
	"context"
	"errors"
	"io"
	"strings"

	"pullnode/sync"
)

// link is one way to reach git upload-pack.
type link interface {
	open(ctx context.Context) (session, error)
	// kind is "" or what a report calls the protocol regardless of its version.
	kind() string
	// stateless links send each request by itself and need no advertisement
	// in front of it.
	stateless() bool
	close()
}

// session is one run of upload-pack, bound to the context it was opened with.
type session interface {
	advert() (io.Reader, error)
	ask(body string) (io.Reader, error)
	// close ends the session; the reason is what the far side said of its end.
	close() (reason error)
}

// Client is a Remote over HTTP, SSH or a local path. It is for one goroutine. It
// keeps its connection between calls.
type Client struct {
	link  link
	lim   Limits
	meter *meter
	known *advert // of a stateless link: what the server said at first
	proto string
}

// Protocol gives what the last call spoke: "v2", "v1", "v0" or "local".
func (c *Client) Protocol() string { return c.proto }

// Bytes gives how many bytes were read from the remote in all.
func (c *Client) Bytes() int64 { return c.meter.n.Load() }

// Close drops the kept connection. The client can be used again.
func (c *Client) Close() {
	c.known = nil
	c.link.close()
}

// Tip implements Remote by one round trip where the connection is kept and the
// server speaks protocol v2.
func (c *Client) Tip(ctx context.Context, branch string) (string, error) {
	if err := checkBranch(branch); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.lim.Poll, errDeadline)
	defer cancel()
	ctx, idle := c.meter.allow(ctx, c.lim.listings())
	defer idle()
	kept := c.known != nil
	id, err := c.tip(ctx, branch)
	if err != nil && kept && c.known == nil && ctx.Err() == nil {
		// What was learned from an earlier connection may be out of date: the
		// server was upgraded, or a load balancer chose another one.
		id, err = c.tip(ctx, branch)
	}
	return id, err
}

func (c *Client) tip(ctx context.Context, branch string) (id string, err error) {
	s, a, err := c.begin(ctx, branch)
	if err != nil {
		return "", err
	}
	defer func() { err = c.end(ctx, s, "ask for the branch", err) }()
	any := a.heads > 0
	if id = a.tip; a.version == "v2" {
		if id, any, err = c.ls(s, a, "refs/heads/"+branch, "refs/heads/"+branch); err != nil {
			return "", err
		}
	}
	if id != "" {
		return id, nil
	}
	if a.version == "v2" && !any {
		any, err = c.anyBranch(ctx, s, a)
		if err != nil {
			return "", err
		}
	}
	if any {
		return "", fail(sync.MissingBranch, "the repository has no branch %s", branch)
	}
	return "", fail(sync.EmptyRepo, "the repository has no branch at all")
}

func (c *Client) anyBranch(ctx context.Context, s session, a *advert) (bool, error) {
	_, any, err := c.ls(s, a, "refs/heads/", "")
	var e *Error
	if errors.As(err, &e) && e.Class == sync.OverLimit {
		return true, nil
	}
	return any, err
}

func (c *Client) ls(s session, a *advert, prefix, ref string) (string, bool, error) {
	r, err := s.ask(string(a.lsRefs(prefix)))
	if err != nil {
		return "", false, err
	}
	return readRefs(newPktReader(r, c.lim.Refs, "ref listing"), ref)
}

// begin opens a session and reads its advertisement, unless that is known.
func (c *Client) begin(ctx context.Context, branch string) (session, *advert, error) {
	s, err := c.link.open(ctx)
	if err != nil {
		return nil, nil, classify(ctx, "connect", err)
	}
	if c.known != nil {
		return s, c.known, nil
	}
	r, err := s.advert()
	if err != nil {
		return nil, nil, c.end(ctx, s, "connect", err)
	}
	a, err := readAdvert(newPktReader(r, c.lim.Refs, "advertisement"), branch)
	if err != nil {
		return nil, nil, c.end(ctx, s, "connect", err)
	}
	if c.proto = a.version; c.link.kind() != "" {
		c.proto = c.link.kind()
	}
	if c.link.stateless() && a.version == "v2" {
		c.known = a
	}
	return s, a, nil
}

// end closes the session. When it broke, what the far side said of it explains
// more than the early end that was seen here.
func (c *Client) end(ctx context.Context, s session, doing string, err error) error {
	reason := s.close()
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(context.Cause(ctx), &e) {
		err = e // the server said too much; what it said last explains nothing
	} else if !errors.As(err, &e) || e.Class == sync.BadData {
		if reason != nil {
			err = reason
		}
	}
	err = classify(ctx, doing, err)
	if errors.As(err, &e) && e.Class != sync.MissingBranch && e.Class != sync.EmptyRepo {
		c.Close()
	}
	return err
}

// fetchBody is the request for a pack: in v2 a fetch command, before that the
// want and have lines of gitprotocol-pack. "done" follows at once, so there is
// one round trip and nothing to negotiate; thin-pack is not asked for, so the
// pack stands for itself.
func (a *advert) fetchBody(ask Ask) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(pkt(s + "\n")) }
	if a.version == "v2" {
		b.WriteString(a.command("fetch") + delimPkt)
		line("ofs-delta")
		line("no-progress")
		line("want " + ask.Want)
	} else {
		want := "want " + ask.Want
		for _, c := range []string{"ofs-delta", "side-band-64k", "no-progress"} {
			if a.has(c) {
				want += " " + c
			}
		}
		line(want)
		b.WriteString(flushPkt)
	}
	for _, h := range ask.Have {
		line("have " + h)
	}
	line("done")
	if a.version == "v2" {
		b.WriteString(flushPkt)
	}
	return b.String()
}

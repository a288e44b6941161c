package fetch

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// meter counts the bytes that came from a remote.
type meter struct{ n atomic.Int64 }

type meteredConn struct {
	net.Conn
	m *meter
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.n.Add(int64(n))
	return n, err
}

type meteredReader struct {
	io.Reader
	m *meter
}

func (r meteredReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.m.n.Add(int64(n))
	return n, err
}

// watch cancels the context it gives when fewer bytes than the minimum came in
// one window. A total deadline alone would let a server hold the one slot for
// all of it.
func (m *meter) watch(ctx context.Context, lim Limits) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		t := time.NewTicker(lim.Window)
		defer t.Stop()
		last := m.n.Load()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			now := m.n.Load()
			if float64(now-last) < float64(lim.MinRate)*lim.Window.Seconds() {
				cancel(errSlow)
				return
			}
			last = now
		}
	}()
	return ctx, func() { cancel(nil) }
}

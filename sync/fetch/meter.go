package fetch

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// meter counts the bytes that came from a remote, and ends what brings too many:
// below the messages that have caps of their own there are those of SSH and HTTP,
// which a server can send without end.
type meter struct {
	n    atomic.Int64
	most atomic.Pointer[budget]
}

// budget is how far a meter may go, and what to call then.
type budget struct {
	at   int64
	over func()
}

// idleBytes is what a server may say on a kept connection while nobody asks.
const idleBytes = 64 << 10

// count adds n bytes and says whether they are within the budget.
func (m *meter) count(n int) bool {
	total := m.n.Add(int64(n))
	b := m.most.Load()
	if b == nil || total <= b.at {
		return true
	}
	b.over()
	return false
}

// allow gives a context that ends when more than most bytes have come. After its
// cancel the connection is idle.
func (m *meter) allow(ctx context.Context, most int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	m.most.Store(&budget{m.n.Load() + most, func() { cancel(errFlood) }})
	return ctx, func() {
		m.most.Store(&budget{m.n.Load() + idleBytes, func() {}})
		cancel(nil)
	}
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.m.count(n) {
		c.Conn.Close()
		return n, errFlood
	}
	return n, err
}

type meteredReader struct {
	io.Reader
	m *meter
}

func (r meteredReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if !r.m.count(n) {
		return n, errFlood
	}
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

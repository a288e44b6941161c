package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// peerTimeout is for taking an answer. Getting the key has no limit but the
	// chain's own.
	peerTimeout = 20 * time.Second
	maxConns    = 64
	maxStanzas  = 1024
	fileKeySize = 16
)

// Agent holds the host's key and answers preflight and unwrap on a unix socket.
// It never sends the key. It gets the key through its chain at the first
// request that needs it and holds it as Hold says, at the longest until Serve
// returns. A failed search is not remembered, so the next request searches again.
//
// It serves root alone, by the kernel's word on who connected. Root can have
// anything decrypted while the key is held; that is what holding it for a short
// time is for.
type Agent struct {
	// Keys gives the key; a Chain. Its errors are passed on as they are, so
	// they must hold no secret.
	Keys interface {
		Fetch(ctx context.Context) (*Key, error)
	}
	// OwnUser also serves this process's own user, for trying pullnode out in
	// one process without root.
	OwnUser bool
	// Log gets one line for every key acquired, request refused and file key
	// given; nil is no log.
	Log *slog.Logger
	// Audit gets the same for machines to read; nil is none.
	Audit *Audit
	// Hold is how long the key is held; empty is HoldUptime.
	Hold Hold
	// Busy tells whether a try goes on; nil is never. Idle is how long nobody
	// may ask before HoldActivation drops the key; zero is DefaultIdle.
	Busy func() bool
	Idle time.Duration
	// OnMissing says what becomes of an unwrap while the key is absent; empty is
	// MissingDegraded. Arrived is called when a key comes that an unwrap asked for
	// in vain, such as to start what failed; nil is nothing. Every is how often
	// the sources are asked meanwhile; zero is 5 s.
	OnMissing OnMissing
	Arrived   func(ctx context.Context)
	Every     time.Duration
	// Store keeps the key over a restart; nil is not.
	Store *FDStore
	// Held is a key to begin with, such as FDStore.Restore gives, or nil.
	Held *Key

	once    sync.Once
	access  chan struct{} // holds a token while nobody uses what follows
	key     *Key          // nil until acquired
	kept    bool          // the key is in Store
	since   time.Time     // when it was acquired
	used    time.Time     // when it was last asked for
	unwraps int
	problem string
	missing bool          // an unwrap found no key
	wake    chan struct{} // says that missing became true
}

func (a *Agent) init() {
	a.once.Do(func() {
		a.access = make(chan struct{}, 1)
		a.access <- struct{}{}
		a.wake = make(chan struct{}, 1)
		if a.Log == nil {
			a.Log = slog.New(slog.DiscardHandler)
		}
		if a.Hold == "" {
			a.Hold = HoldUptime
		}
		if a.Held != nil {
			a.key, a.kept, a.since, a.used = a.Held, a.Store != nil, time.Now(), time.Now()
			a.Held = nil
		}
	})
}

// Serve answers on l, which must be a unix listener, until ctx is done or l
// fails. It then closes l and all connections, waits for what is in progress and
// gives the key up: it is wiped, or lives on in Store until systemd sees a stop
// that is no restart. Its error is nil when ctx was done.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	a.init()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	// In this order: nobody may still use the key when it is wiped.
	defer a.end()
	defer wg.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()

	wg.Go(func() { a.janitor(ctx) })
	wg.Go(func() { a.late(ctx) })
	free := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if conn != nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on the key socket: %w", err)
		}
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			a.serve(ctx, conn)
		})
	}
}

// Release wipes the key if one is held. The next request gets it anew.
func (a *Agent) Release() {
	a.init()
	a.locked(a.drop)
}

// end lets go of the key. Memory that is kept for a restart is not overwritten:
// if this is no restart, systemd drops it, and the kernel clears it then.
func (a *Agent) end() {
	a.locked(func() {
		if !a.kept {
			a.drop()
		}
	})
}

// serve handles one connection.
func (a *Agent) serve(ctx context.Context, conn net.Conn) {
	log := a.Log
	peer, err := peerOf(conn)
	if err == nil {
		log = log.With("pid", peer.pid, "uid", peer.uid)
		err = peer.allowed(a.OwnUser)
	}
	if err != nil {
		log.Warn("refused to serve the key socket's peer", "err", err)
		a.record(Event{Event: "refuse", PID: peer.pid, UID: peer.uid, Program: peer.program(), Error: err.Error()})
		conn.SetDeadline(time.Now().Add(peerTimeout))
		writeFrame(conn, response{Error: err.Error(), Class: classDenied})
		return
	}
	for {
		// Without a limit for the pause between requests: root may keep a
		// connection, and maxConns bounds how many.
		conn.SetDeadline(time.Time{})
		var req request
		if err := readFrame(conn, &req); err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				log.Warn("bad request on the key socket", "err", err)
				conn.SetWriteDeadline(time.Now().Add(peerTimeout))
				writeFrame(conn, response{Error: err.Error(), Class: classRequest})
			}
			return
		}
		resp := a.answer(ctx, log, peer, req)
		conn.SetWriteDeadline(time.Now().Add(peerTimeout))
		err := writeFrame(conn, resp)
		clear(resp.FileKey)
		if err != nil {
			return
		}
	}
}

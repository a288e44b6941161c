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

	"filippo.io/age"
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
// request that needs it and holds it until Release, or until Serve returns:
// stopping the process is how the key is dropped. A failed search is not
// remembered, so the next request searches again.
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

	once   sync.Once
	access chan struct{} // holds a token while nobody uses key
	key    *Key          // nil until acquired
}

func (a *Agent) init() {
	a.once.Do(func() {
		a.access = make(chan struct{}, 1)
		a.access <- struct{}{}
		if a.Log == nil {
			a.Log = slog.New(slog.DiscardHandler)
		}
	})
}

// Serve answers on l, which must be a unix listener, until ctx is done or l
// fails. It then closes l and all connections, waits for what is in progress and
// wipes the key. Its error is nil when ctx was done.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	a.init()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	// In this order: nobody may still use the key when it is wiped.
	defer a.Release()
	defer wg.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()

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
	<-a.access
	a.key.Wipe()
	a.key = nil
	a.access <- struct{}{}
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
		resp := a.answer(ctx, log, req)
		conn.SetWriteDeadline(time.Now().Add(peerTimeout))
		err := writeFrame(conn, resp)
		clear(resp.FileKey)
		if err != nil {
			return
		}
	}
}

func (a *Agent) answer(ctx context.Context, log *slog.Logger, req request) response {
	var resp response
	var err error
	switch {
	case req.Verb == verbPreflight && req.Stanzas == nil:
		err = a.withKey(ctx, log, func(k *Key) error {
			resp.Results = Preflight(k.Identities(), req.Files)
			resp.Recipients = k.Recipients()
			return nil
		})
		log.Info("preflight", "files", len(req.Files), "err", err)
	case req.Verb == verbUnwrap && req.Files == nil && len(req.Stanzas) > 0 && len(req.Stanzas) <= maxStanzas:
		err = a.withKey(ctx, log, func(k *Key) error {
			resp.FileKey, err = unwrap(k, req.Stanzas)
			return err
		})
		log.Info("unwrap", "stanzas", len(req.Stanzas), "err", err)
	default:
		log.Warn("bad request on the key socket", "verb", clip(req.Verb))
		return response{Error: fmt.Sprintf("no such request: %q", clip(req.Verb)), Class: classRequest}
	}
	if err != nil {
		return response{Error: err.Error(), Class: classOf(err)}
	}
	return resp
}

// withKey runs use with the key, which is not wiped meanwhile. Requests wait
// for one another: what they do takes microseconds, and one search for the key
// is enough.
func (a *Agent) withKey(ctx context.Context, log *slog.Logger, use func(*Key) error) error {
	select {
	case <-a.access:
		defer func() { a.access <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.key == nil {
		k, err := a.Keys.Fetch(ctx)
		if err != nil {
			return err
		}
		log.Info("acquired the key", "source", k.From(), "recipient", k.Recipient())
		a.key = k
	}
	return use(a.key)
}

// unwrap gives the file key that the first fitting identity finds.
func unwrap(k *Key, in []stanza) ([]byte, error) {
	stanzas := make([]*age.Stanza, len(in))
	for i, s := range in {
		stanzas[i] = &age.Stanza{Type: s.Type, Args: s.Args, Body: s.Body}
	}
	for _, id := range k.Identities() {
		fileKey, err := id.Unwrap(stanzas)
		if errors.Is(err, age.ErrIncorrectIdentity) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(fileKey) != fileKeySize {
			return nil, fmt.Errorf("file key has %d bytes, want %d", len(fileKey), fileKeySize)
		}
		return fileKey, nil
	}
	return nil, fmt.Errorf("the file is not encrypted for %s: %w", short(k.Recipient()), age.ErrIncorrectIdentity)
}

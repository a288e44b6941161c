package keysrc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"filippo.io/age"
)

// answer handles one request.
func (a *Agent) answer(ctx context.Context, log *slog.Logger, p peer, req request) response {
	var resp response
	var err error
	event := Event{Event: req.Verb, PID: p.pid, UID: p.uid, Program: p.program()}
	switch {
	case req.Verb == verbState && req.Files == nil && req.Stanzas == nil:
		s := a.state()
		return response{State: &s}
	case req.Verb == verbPreflight && req.Stanzas == nil:
		err = a.withKey(ctx, &event, func(k *Key) error {
			resp.Results = Preflight(k.Identities(), req.Files)
			resp.Recipients = k.Recipients()
			return nil
		})
		event.Files = len(req.Files)
		log.Info("preflight", "files", len(req.Files), "err", err)
	case req.Verb == verbUnwrap && req.Files == nil && len(req.Stanzas) > 0 && len(req.Stanzas) <= maxStanzas:
		err = a.withKey(ctx, &event, func(k *Key) error {
			resp.FileKey, err = unwrap(k, req.Stanzas)
			a.unwraps++
			return err
		})
		log.Info("unwrap", "program", event.Program, "source", event.Source, "err", err)
	case req.Verb == verbAwait && req.Files == nil && req.Stanzas == nil:
		err = a.withKey(ctx, &event, func(k *Key) error {
			resp.Recipients = k.Recipients()
			return nil
		})
		log.Info("await", "source", event.Source, "err", err)
	default:
		log.Warn("bad request on the key socket", "verb", clip(req.Verb))
		return response{Error: fmt.Sprintf("no such request: %q", clip(req.Verb)), Class: classRequest}
	}
	if err != nil {
		event.Error = err.Error()
		resp = response{Error: event.Error, Class: classOf(err)}
	}
	a.record(event)
	return resp
}

// record never fails a request: a full disk must not take the secrets away. The
// same line is in the log.
func (a *Agent) record(e Event) {
	if err := a.Audit.write(e); err != nil {
		a.Log.Warn("cannot write the audit file", "err", err)
	}
}

// acquired begins to hold a key. The caller holds access.
func (a *Agent) acquired(k *Key) {
	// What was asked for in vain is still missing: late tells who waits for it,
	// whoever got the key.
	a.problem = ""
	a.take(k)
	a.Log.Info("acquired the key", "source", k.From(), "recipient", k.Recipient(), "memory", string(k.Memory()))
	if k.Memory() == Ordinary {
		a.Log.Warn("this process may not lock memory: only MemorySwapMax=0 keeps the key from being swapped; raise LimitMEMLOCK=, or give the container CAP_IPC_LOCK")
	}
	a.record(Event{Event: "acquire", Source: k.From(), Recipient: k.Recipient()})
}

// withKey runs use with the key, which is not wiped meanwhile. Requests wait
// for one another: what they do takes microseconds, and one search for the key
// is enough.
func (a *Agent) withKey(ctx context.Context, e *Event, use func(*Key) error) error {
	select {
	case <-a.access:
		defer func() { tidy(); a.access <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.key == nil {
		needs := e.Event == verbUnwrap || e.Event == verbAwait
		if err := a.fetch(ctx, needs); err != nil {
			if needs {
				a.miss(err)
			}
			return err
		}
	}
	a.used = time.Now()
	e.Source, e.Recipient = a.key.From(), a.key.Recipient()
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

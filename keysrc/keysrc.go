// Package keysrc gets a host's age identity from where its operators keep it
// and lends it out without giving it away.
//
// A Source is one place that may hold the identity; a Chain asks several in
// order. An Agent holds what the chain gave and answers two questions over a
// unix socket: do these SOPS files open (preflight), and what is the file key
// of these age stanzas (unwrap). The identity itself never leaves the process,
// save by a Handoff, the fallback for programs that want a file.
//
// The package promises that a Key cannot be printed by accident. It does not
// promise that root on the same machine cannot get at it: root can always ask.
// Each kind of source is one file that adds itself to Kinds, and a part of
// docs/keys.md.
package keysrc

import (
	"context"
	"errors"

	"pullnode/internal/registry"
)

// ErrAbsent is wrapped by a source whose medium is not there right now: no such
// file, no stick plugged in, no credential passed. The chain then asks the next
// source. A medium that is there and is unreadable, damaged or foreign is never
// absent.
var ErrAbsent = errors.New("absent")

// ErrTemporary is wrapped by a source that could not be reached just now: no
// network, a server that is down. It is absent too, and comes back by itself.
var ErrTemporary error = temporaryError{}

type temporaryError struct{}

func (temporaryError) Error() string        { return "cannot be reached now" }
func (temporaryError) Is(target error) bool { return target == ErrAbsent }

// ErrWrongKey is wrapped when a source gave a key whose public half is not the
// one that the settings pin. Somebody swapped the medium or the settings are
// wrong; no other source is asked, so that this cannot pass unseen.
var ErrWrongKey = errors.New("wrong key")

// ErrDenied is wrapped when who guards the key says no: the agent to another
// user, a server to this host, a TPM to a machine that booted otherwise, a card to a
// PIN. No other source is asked.
var ErrDenied = errors.New("denied")

// ErrCorrupt is wrapped when the medium is there and what it holds is damaged.
// No other source is asked.
var ErrCorrupt = errors.New("corrupt")

// Source is a place that may hold the key.
type Source interface {
	// Name is shown to the operator, like "file:/var/lib/host.age". It holds no
	// secret and does not fail.
	Name() string
	// Fetch reads the key. It must wrap ErrAbsent if the medium is not there
	// right now: the next source is tried. Any other error stops the search.
	// It returns early, with ctx's error, when ctx is done. The caller wipes
	// the key.
	Fetch(ctx context.Context) (*Key, error)
}

// Kinds holds the kinds of source by the "type" that settings name them with.
var Kinds registry.Kinds[Source]

package keysrc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Settings are the "keys" part of the settings.
type Settings struct {
	// Recipient pins the public half ("age1..."): a source that gives another
	// key raises ErrWrongKey. Empty takes whatever the first source gives.
	Recipient string `json:"recipient,omitempty"`
	// Sources are tried in order; each is an object with a "type".
	Sources []json.RawMessage `json:"sources,omitempty"`
}

// Chain is a list of sources that are asked in order.
type Chain struct {
	Recipient string // pinned public half, or "" for none
	Sources   []Source
}

// NoKeyError says that every source was absent. It remembers every try, and
// errors.Is finds ErrAbsent in it.
type NoKeyError struct {
	Tried []error // one a source, in order; empty when none is configured
}

// Error names every source and why it was passed over.
func (e *NoKeyError) Error() string {
	if len(e.Tried) == 0 {
		return "no key: no source is configured"
	}
	texts := make([]string, len(e.Tried))
	for i, err := range e.Tried {
		texts[i] = err.Error()
	}
	return "no key: " + strings.Join(texts, "; ")
}

// Unwrap gives the tries, and ErrAbsent also when there was none.
func (e *NoKeyError) Unwrap() []error { return append(slices.Clone(e.Tried), ErrAbsent) }

// Open makes the chain that the settings describe. Its errors name the setting.
func (s Settings) Open() (Chain, error) {
	c, err := OpenAll(s.Sources)
	if err != nil {
		return Chain{}, err
	}
	if c.Recipient, err = checkRecipient(s.Recipient); err != nil {
		return Chain{}, fmt.Errorf("recipient: %w", err)
	}
	return c, nil
}

// OpenAll makes a chain, without a pinned public half, from one JSON object a
// source. Nothing is read from any medium yet. Errors name the index, and the
// nearest known word for a field or type that does not exist.
func OpenAll(raw []json.RawMessage) (Chain, error) {
	var c Chain
	for i, r := range raw {
		s, err := Kinds.Open(r)
		if err != nil {
			return Chain{}, fmt.Errorf("sources[%d]: %w", i, err)
		}
		c.Sources = append(c.Sources, s)
	}
	return c, nil
}

func checkRecipient(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if strings.HasPrefix(strings.ToUpper(s), "AGE-SECRET-KEY-") {
		// Settings live in the world-readable Nix store.
		return "", errors.New("is a private key, want the public half (age1...); treat that key as leaked")
	}
	got, err := parseRecipient(s)
	if err != nil {
		return "", fmt.Errorf("%q is not one age recipient (age1...)", short(s))
	}
	return got, nil
}

// Fetch gives the key of the first source that is not absent. All absent is a
// *NoKeyError. A source's other error, and a key that is not the pinned one
// (ErrWrongKey), stop the search: falling through would hide a broken or
// swapped medium behind a spare one. The caller wipes the key.
func (c Chain) Fetch(ctx context.Context) (*Key, error) {
	none := &NoKeyError{}
	for _, s := range c.Sources {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name(), err)
		}
		k, err := s.Fetch(ctx)
		if err == nil && k.held() == nil {
			err = errors.New("gave neither a key nor an error")
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name(), err)
			if errors.Is(err, ErrAbsent) {
				none.Tried = append(none.Tried, err)
				continue
			}
			return nil, err
		}
		// During a rotation one medium holds the old and the new identity.
		if c.Recipient != "" && !slices.Contains(k.Recipients(), c.Recipient) {
			got := short(k.Recipient())
			k.Wipe()
			return nil, fmt.Errorf("%s: %w: its public half is %s, the settings pin %s", s.Name(), ErrWrongKey, got, short(c.Recipient))
		}
		k.held().setFrom(s.Name())
		return k, nil
	}
	return nil, none
}

package keysrc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

func publicHalves(raw []byte) (recipients []string, err error) {
	if len(raw) > keyLimit {
		return nil, fmt.Errorf("identity file is over %d bytes", keyLimit)
	}
	erasing(func() {
		err = eachIdentity(raw, func(n int, id age.Identity) (bool, error) {
			pub, err := publicHalf(id)
			if err != nil {
				return false, fmt.Errorf("line %d: %w", n, err)
			}
			recipients = append(recipients, strings.Clone(pub))
			return true, nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case len(recipients) == 0:
		return nil, errors.New("holds no age identity")
	case len(recipients) > maxIDs:
		return nil, fmt.Errorf("holds %d identities, at most %d are read", len(recipients), maxIDs)
	}
	return recipients, nil
}

// eachIdentity parses the identities of a file in turn, with their line, until
// use says that it has seen enough.
func eachIdentity(raw []byte, use func(line int, id age.Identity) (more bool, err error)) error {
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if bytes.HasPrefix(line, []byte("AGE-PLUGIN-")) {
			return fmt.Errorf("line %d names an age plugin, want the identity itself (AGE-SECRET-KEY-...)", n)
		}
		// Line by line, because age's own error for a whole file may quote
		// characters of the key.
		ids, err := age.ParseIdentities(bytes.NewReader(line))
		if err != nil || len(ids) != 1 {
			return fmt.Errorf("line %d is not an age identity", n)
		}
		if more, err := use(n, ids[0]); err != nil || !more {
			return err
		}
	}
	return nil
}

func publicHalf(id age.Identity) (string, error) {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String(), nil
	case *age.HybridIdentity:
		return id.Recipient().String(), nil
	}
	return "", errors.New("this kind of age identity has no known public half")
}

// identity is one identity of a key. age's own types print the secret; this
// one does not, for the reason given at Key.ring, and obeys Wipe.
type identity func() (*keyring, int)

// Unwrap is age.Identity's.
func (i identity) Unwrap(stanzas []*age.Stanza) (fileKey []byte, err error) {
	in, n := i()
	if in.text == nil {
		in.mu.Lock()
		device := in.device
		in.mu.Unlock()
		if n >= len(device) {
			return nil, errWiped
		}
		return device[n].Unwrap(stanzas)
	}
	out := make([]byte, 0, fileKeySize)
	useErr := in.text.use(func(text []byte) error {
		at := 0
		var parseErr error
		erasing(func() {
			parseErr = eachIdentity(text, func(_ int, id age.Identity) (bool, error) {
				if at++; at <= n {
					return true, nil
				}
				var got []byte
				if got, err = id.Unwrap(stanzas); err == nil {
					out = append(out, got...)
					clear(got)
				}
				return false, nil
			})
		})
		return parseErr
	})
	if useErr != nil {
		return nil, useErr
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Format keeps the secret out of every print, MarshalText out of every encoding.
func (identity) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (identity) MarshalText() ([]byte, error) { return []byte(redacted), nil }

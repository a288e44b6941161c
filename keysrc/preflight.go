package keysrc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"pullnode/keysrc/shares"
)

// dataKeySize is that of AES-256, with which sops encrypts values.
const dataKeySize = 32

// maxShown recipients are listed of a file: enough to see whose it is, and an
// answer to the agent stays small.
const maxShown = 32

// State is what preflight says of one file.
type State string

// The states of a Result. Only OK lets a switch go on.
const (
	OK               State = "ok"
	MissingRecipient State = "missing-recipient" // sound, and this host cannot open it
	NotSOPS          State = "not-sops"          // has no SOPS metadata
	Malformed        State = "malformed"         // has SOPS metadata that sops would not read
)

// Result is preflight's answer for one file.
type Result struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Recipients are the age recipients that the file does have, shortened,
	// and the kinds of its other keys.
	Recipients []string `json:"recipients,omitempty"`
	Detail     string   `json:"detail,omitempty"` // one line, no secret
}

// String gives one line for people.
func (r Result) String() string {
	s := r.Name + ": "
	switch r.State {
	case OK:
		return s + "opens"
	case MissingRecipient:
		s += "is not encrypted for this host"
		if r.Detail != "" {
			s += " (" + r.Detail + ")"
		}
		if len(r.Recipients) == 0 {
			return s + "; it has no recipient at all"
		}
		return s + "; it is for " + strings.Join(r.Recipients, ", ")
	case NotSOPS:
		return s + "has no sops metadata"
	}
	return s + "is malformed: " + r.Detail
}

// PreflightError says which files keep a deployment from going on.
type PreflightError struct {
	Recipients []string // this host's
	Bad        []Result
}

// Error names every file, what it is encrypted for, and what is missing.
func (e *PreflightError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d secret files do not open with this host's key", len(e.Bad))
	if len(e.Bad) == 1 {
		b.Reset()
		b.WriteString("a secret file does not open with this host's key")
	}
	for i, r := range e.Recipients {
		b.WriteString([]string{" (", ", "}[min(i, 1)] + short(r))
	}
	if len(e.Recipients) > 0 {
		b.WriteString(")")
	}
	for _, r := range e.Bad {
		b.WriteString("\n" + r.String())
	}
	return b.String()
}

// Judge gives a *PreflightError when a result is not OK. The recipients are
// this host's, for the text.
func Judge(recipients []string, results []Result) error {
	bad := slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.State == OK })
	if len(bad) == 0 {
		return nil
	}
	return &PreflightError{recipients, bad}
}

// Preflight tries whether the identities open the data key of each file, with
// as many key groups as the file needs. It decrypts no secret, and a file that
// is OK can still fail in sops when its values were damaged: they have their
// own MAC.
func Preflight(ids []age.Identity, files []Meta) []Result {
	out := make([]Result, len(files))
	for i, m := range files {
		out[i] = preflight(ids, m)
	}
	return out
}

func preflight(ids []age.Identity, m Meta) Result {
	key, r := dataKey(ids, m)
	clear(key)
	return r
}

// dataKey opens a file's data key; the result says why there is none.
func dataKey(ids []age.Identity, m Meta) ([]byte, Result) {
	r := Result{Name: m.Name}
	// Of one group the data key is what is encrypted, of several it is a share,
	// one byte longer (its x coordinate, at the end).
	size := dataKeySize
	if len(m.Groups) > 1 {
		size++
	}
	var opened [][]byte
	defer func() {
		for _, o := range opened {
			clear(o)
		}
	}()
	var damaged error
	for _, g := range m.Groups {
		var part []byte
		for _, e := range g.Age {
			r.Recipients = append(r.Recipients, short(e.Recipient))
			if part != nil {
				continue
			}
			var err error
			part, err = open(ids, e, size)
			if none := (*age.NoIdentityMatchError)(nil); err != nil && !errors.As(err, &none) {
				damaged = fmt.Errorf("data key for %s: %w", short(e.Recipient), err)
			}
		}
		r.Recipients = append(r.Recipients, g.Others...)
		if part != nil {
			opened = append(opened, part)
		}
	}
	if n := len(r.Recipients); n > maxShown {
		r.Recipients = append(r.Recipients[:maxShown:maxShown], fmt.Sprintf("%d more", n-maxShown))
	}
	switch {
	case m.Threshold < 1 || m.Threshold > len(m.Groups):
		r.State, r.Detail = Malformed, fmt.Sprintf("needs %d of %d key groups", m.Threshold, len(m.Groups))
	case len(opened) >= m.Threshold:
		r.State = OK
		return join(opened[:m.Threshold]), r
	case damaged != nil:
		r.State, r.Detail = Malformed, damaged.Error()
	default:
		r.State = MissingRecipient
		if len(m.Groups) > 1 {
			r.Detail = fmt.Sprintf("opens %d key groups, needs %d of %d", len(opened), m.Threshold, len(m.Groups))
		}
	}
	return nil, r
}

// join makes the data key of the shares of a file's key groups.
func join(parts [][]byte) []byte {
	if len(parts[0]) == dataKeySize {
		return bytes.Clone(parts[0])
	}
	xs, ys := make([]byte, len(parts)), make([][]byte, len(parts))
	for i, p := range parts {
		xs[i], ys[i] = p[dataKeySize], p[:dataKeySize]
	}
	return shares.Interpolate(xs, ys)
}

// open decrypts one data key, or a share of it.
func open(ids []age.Identity, e AgeEntry, size int) ([]byte, error) {
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(e.Enc)), ids...)
	if err != nil {
		return nil, err
	}
	key := make([]byte, size+1)
	n, err := io.ReadFull(r, key)
	if errors.Is(err, io.ErrUnexpectedEOF) && n == size {
		return key[:n], nil
	}
	clear(key)
	switch {
	case err == nil:
		return nil, fmt.Errorf("is over %d bytes", size)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("has %d bytes, want %d", n, size)
	}
	return nil, err
}

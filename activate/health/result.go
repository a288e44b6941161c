package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// State is the answer of one check.
type State string

// The states of a check.
const (
	OK      State = "ok"
	Failed  State = "failed"
	NotYet  State = "not-yet"
	Unknown State = "unknown"
)

// Result is the answer of one check with its text.
type Result struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Text  string `json:"text,omitempty"`
	// Counts says that the verdict depends on it; Judge sets it.
	Counts bool          `json:"counts,omitempty"`
	Took   time.Duration `json:"took,omitempty"` // nanoseconds
}

const (
	textLimit = 1 << 10
	// grace is how long after its timeout a check may still return by itself.
	grace = 5 * time.Second
)

// RunAll asks all checks at once, each with its own timeout, and gives their
// answers in the same order. A check that does not return in time has failed;
// one that was cut short because ctx is done is unknown.
func RunAll(ctx context.Context, checks []Named) []Result {
	results := make([]Result, len(checks))
	var wg sync.WaitGroup
	for i, n := range checks {
		wg.Go(func() { results[i] = runOne(ctx, n) })
	}
	wg.Wait()
	return results
}

func runOne(parent context.Context, n Named) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(parent, n.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- n.Check.Run(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		// A check that does not keep its promise must not stop the verdict.
		select {
		case err = <-done:
		case <-time.After(grace):
			err = ctx.Err()
		}
	}
	r := Result{Name: n.Name, State: OK, Took: time.Since(start)}
	switch {
	case err == nil:
		return r
	case parent.Err() != nil:
		r.State, r.Text = Unknown, "interrupted"
		return r
	case errors.Is(err, ErrUnknown):
		r.State = Unknown
	case errors.Is(err, ErrNotYet):
		r.State = NotYet
	default:
		r.State = Failed
	}
	r.Text = clean(err.Error())
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		r.State, r.Text = Failed, fmt.Sprintf("no answer within %v: %s", n.Timeout, r.Text)
	}
	return r
}

// clean makes one line of a text that a service may have chosen.
func clean(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > textLimit {
		s = strings.ToValidUTF8(s[:textLimit], "") + " ..."
	}
	return s
}

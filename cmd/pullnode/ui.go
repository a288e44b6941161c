package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"pullnode/internal/registry"
)

// hinted is an error with what to do next.
type hinted struct {
	err   error
	hints []string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

func hint(err error, hints ...string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hints}
}

// exitError ends the command with a status and nothing to say: what there is to
// say is in the output already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

type usageErr struct{ error }

func usageError(format string, args ...any) error { return usageErr{fmt.Errorf(format, args...)} }

func nearest(word string) string {
	var names []string
	for n, c := range commands() {
		if c.short != "" {
			names = append(names, n)
		}
	}
	return registry.DidYouMean(word, names)
}

// report prints an error as people read it and gives the exit status.
func report(w io.Writer, err error) int {
	var exit exitError
	var usage usageErr
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			fmt.Fprintln(w, "pullnode: error: "+line)
		} else {
			fmt.Fprintln(w, "  "+line)
		}
	}
	var h *hinted
	if errors.As(err, &h) {
		for _, l := range h.hints {
			if l != "" {
				fmt.Fprintln(w, "pullnode: hint: "+l)
			}
		}
	}
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func jsonFlag(fs *flag.FlagSet, v *bool) { fs.BoolVar(v, "json", false, "print JSON") }

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// ago writes an age as people say it.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return span(now.Sub(t)) + " ago"
}

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func short(id string) string { return id[:min(7, len(id))] }

// safe makes text from elsewhere safe for a terminal: one line, no control
// characters.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return ' '
		}
		return r
	}, s)
}

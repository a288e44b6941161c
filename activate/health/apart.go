package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"pullnode/internal/registry"
)

// answersLimit is the most bytes of another process's answers that are read.
const answersLimit = 64 << 10

// answers is the one JSON value that the process for network checks prints.
type answers struct {
	Results []Result `json:"results"`
}

// Split gives an Ask that has the checks with Spec.Network asked by network, the
// others by local (RunAll when nil), both at once.
func Split(local, network Ask) Ask {
	return func(ctx context.Context, checks []Named) []Result {
		var here, there []Named
		for _, n := range checks {
			if n.Network {
				there = append(there, n)
			} else {
				here = append(here, n)
			}
		}
		far := make(chan []Result, 1)
		go func() {
			if len(there) == 0 {
				far <- nil
				return
			}
			far <- network.each(ctx, there)
		}()
		return slices.Concat(local.each(ctx, here), <-far)
	}
}

// Settings gives back the settings of checks, as the process that asks them
// opens them.
func Settings(checks []Named) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for _, n := range checks {
		m[n.Name] = json.RawMessage(n.Fingerprint)
	}
	return m
}

// Serve is that process: it opens the checks, asks each once and prints the
// answers. Checks that need a seam are refused, as Open does.
func Serve(ctx context.Context, settings map[string]json.RawMessage, out io.Writer) error {
	checks, err := Open(settings, Seams{})
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answers{RunAll(ctx, checks)})
}

// DecodeAnswers reads what Serve printed. The process has less authority than
// the reader, so nothing of it is taken that is not an answer.
func DecodeAnswers(raw []byte) ([]Result, error) {
	if len(raw) > answersLimit {
		return nil, fmt.Errorf("health answers are over %d bytes", answersLimit)
	}
	var a answers
	if err := registry.Strict(raw, &a); err != nil {
		return nil, fmt.Errorf("health answers: %w", err)
	}
	for i := range a.Results {
		r := &a.Results[i]
		if !slices.Contains([]State{OK, Failed, NotYet, Unknown}, r.State) || !validName(r.Name) {
			return nil, errors.New("health answers: not the answer of a check")
		}
		r.Text, r.Counts = clean(r.Text), false
	}
	return a.Results, nil
}

// Package healthtest is the suite that every kind of check must pass.
package healthtest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pullnode/activate/health"
)

// Kind is one kind of check with settings for each answer that it can give.
type Kind struct {
	Type  string
	Seams health.Seams
	// Good, Bad and Hang are settings, without type, of a check that is well,
	// that fails, and that would wait far longer than the test. NotYet and
	// Unknown may be empty where the kind has no such answer.
	Good, Bad, Hang, NotYet, Unknown string
	// Invalid are settings that Open must refuse, with a word that the error
	// must hold.
	Invalid map[string]string
}

// Run runs the suite on one kind.
func Run(t *testing.T, k Kind) {
	t.Run("good", func(t *testing.T) {
		for range 2 { // nothing is kept from one call to the next
			if r := k.ask(t, k.Good); r.State != health.OK || r.Text != "" {
				t.Fatalf("%+v", r)
			}
		}
	})
	for state, settings := range map[health.State]string{health.Failed: k.Bad, health.NotYet: k.NotYet, health.Unknown: k.Unknown} {
		if settings == "" {
			continue
		}
		t.Run(string(state), func(t *testing.T) {
			r := k.ask(t, settings)
			if r.State != state {
				t.Fatalf("%+v", r)
			}
			line(t, r.Text)
		})
	}
	t.Run("after bad comes good", func(t *testing.T) {
		k.ask(t, k.Bad)
		if r := k.ask(t, k.Good); r.State != health.OK {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		n := k.open(t, k.Hang)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Check.Run(ctx) }()
		cancel()
		if err := <-done; err == nil { // go test's own timeout finds one that hangs
			t.Fatal("well although it was interrupted")
		}
	})
	t.Run("times out", func(t *testing.T) {
		n := k.open(t, withField(k.Hang, "timeout", `"50ms"`))
		if n.Timeout != 50*time.Millisecond {
			t.Fatalf("timeout is %v", n.Timeout)
		}
		r := health.RunAll(t.Context(), []health.Named{n})[0]
		if r.State != health.Failed {
			t.Fatalf("%+v", r)
		}
		line(t, r.Text)
	})
	t.Run("concurrent", func(t *testing.T) {
		good, bad := k.open(t, k.Good), k.open(t, k.Bad)
		for i, r := range health.RunAll(t.Context(), []health.Named{good, bad, good, bad, good, bad}) {
			if want := []health.State{health.OK, health.Failed}[i%2]; r.State != want {
				t.Fatalf("%d: %+v", i, r)
			}
		}
	})
	t.Run("settings", func(t *testing.T) { k.settings(t) })
}

func (k Kind) settings(t *testing.T) {
	invalid := map[string]string{withField(k.Good, "no-such-field", "1"): "no-such-field",
		withField(k.Good, "timeout", `"never"`): "duration", withField(k.Good, "required", `"x"`): "required"}
	for s, word := range k.Invalid {
		invalid[s] = word
	}
	for s, word := range invalid {
		_, err := health.Open(map[string]json.RawMessage{"x": k.raw(s)}, k.Seams)
		if err == nil || !strings.HasPrefix(err.Error(), "health.checks.x: ") || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q in it", s, err, word)
			continue
		}
		line(t, err.Error())
	}
	if n := k.open(t, k.Good); !n.Required || n.Name != "x" {
		t.Errorf("%+v", n.Spec)
	}
	if n := k.open(t, withField(k.Good, "required", "false")); n.Required {
		t.Error("required although it says false")
	}
	a, b := k.open(t, k.Good), k.open(t, k.Bad)
	if a.Fingerprint == b.Fingerprint || a.Fingerprint != k.open(t, " "+k.Good).Fingerprint {
		t.Error("the fingerprint does not follow the settings")
	}
	// A check whose seam is missing is refused, not met later.
	var nothing health.Seams
	if _, err := health.Open(map[string]json.RawMessage{"x": k.raw(k.Good)}, nothing); err == nil && k.Seams != nothing {
		t.Error("opened without its seam")
	}
}

func (k Kind) raw(settings string) json.RawMessage {
	return json.RawMessage(withField(settings, "type", `"`+k.Type+`"`))
}

func (k Kind) open(t *testing.T, settings string) health.Named {
	t.Helper()
	list, err := health.Open(map[string]json.RawMessage{"x": k.raw(settings)}, k.Seams)
	if err != nil {
		t.Fatalf("open %s: %v", settings, err)
	}
	return list[0]
}

func (k Kind) ask(t *testing.T, settings string) health.Result {
	t.Helper()
	n := k.open(t, settings)
	r := health.RunAll(t.Context(), []health.Named{n})[0]
	err := n.Check.Run(t.Context())
	if (err == nil) != (r.State == health.OK) || errors.Is(err, health.ErrUnknown) != (r.State == health.Unknown) {
		t.Fatalf("error %v, state %s", err, r.State)
	}
	return r
}

func withField(settings, name, value string) string {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(settings), &m) != nil {
		return settings
	}
	m[name] = json.RawMessage(value)
	out, _ := json.Marshal(m)
	return string(out)
}

// line checks the house rules for texts.
func line(t *testing.T, s string) {
	t.Helper()
	if s == "" || s[0] >= 'A' && s[0] <= 'Z' || strings.HasSuffix(s, ".") || strings.ContainsAny(s, "\n\r\x1b") {
		t.Errorf("not a line for people: %q", s)
	}
}

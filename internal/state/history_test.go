package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/state"
)

func TestHistory(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	if h, err := s.History(5); err != nil || len(h) != 0 {
		t.Fatalf("%v, %v", h, err)
	}
	add := func(e state.Entry) { t.Helper(); must(t, s.Append(e)) }
	refused := state.Entry{Commit: "b", Result: state.ResultRefused, Why: "UNSIGNED"}
	add(state.Entry{Commit: "a", Result: state.ResultKept})
	add(refused)
	add(refused)
	s.Close() // the agent restarts and meets the same tip
	s = open(t, c)
	add(refused)
	other := refused
	other.Why = "POLICY"
	add(other)
	add(refused)
	kept := state.Entry{Commit: "c", Result: state.ResultKept}
	add(kept)
	add(kept)
	add(refused) // met again after something else
	var got []string
	h, err := s.History(100)
	must(t, err)
	for _, e := range h {
		got = append(got, e.Commit+e.Why)
	}
	if want := "a bUNSIGNED bPOLICY bUNSIGNED c c"; strings.Join(got, " ") != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if h, _ := s.History(2); len(h) != 2 || h[0].Commit != "c" {
		t.Fatalf("%+v", h)
	}
	if h, _ := s.History(0); len(h) != 0 {
		t.Fatalf("%+v", h)
	}
	if h, _ := s.History(-1); len(h) != 0 {
		t.Fatalf("%+v", h)
	}
}

func TestTornHistoryLineIsSkipped(t *testing.T) {
	c := conf(t)
	s := open(t, c)
	must(t, s.Append(state.Entry{Commit: "a", Result: state.ResultKept}))
	f, err := os.OpenFile(filepath.Join(c.Dir, "history.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"commit":"torn","result":"ke`)
	must(t, err)
	must(t, f.Close())
	if h, err := s.History(9); err != nil || len(h) != 1 || h[0].Commit != "a" {
		t.Fatalf("%+v, %v", h, err)
	}
	must(t, s.Append(state.Entry{Commit: "b", Result: state.ResultKept}))
	if h, err := state.ReadHistory(c.Dir, 9); err != nil || len(h) != 2 || h[1].Commit != "b" {
		t.Fatalf("%+v, %v", h, err)
	}
}

func TestLongHistoryIsReadFromItsEnd(t *testing.T) {
	c := conf(t)
	var b strings.Builder
	for n := range 3000 {
		fmt.Fprintf(&b, `{"result":"kept","generation":%d,"why":%q}`+"\n", n, strings.Repeat("w", n%300))
	}
	must(t, os.MkdirAll(c.Dir, 0o700))
	must(t, os.WriteFile(filepath.Join(c.Dir, "history.jsonl"), []byte(b.String()), 0o600))
	for _, n := range []int{1, 7, 1500, 3000, 4000} {
		h, err := state.ReadHistory(c.Dir, n)
		if err != nil || len(h) != min(n, 3000) || h[len(h)-1].Generation != 2999 || h[0].Generation != 3000-len(h) {
			t.Fatalf("History(%d): %d entries, %v", n, len(h), err)
		}
	}
}

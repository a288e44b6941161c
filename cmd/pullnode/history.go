package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"pullnode/internal/state"
)

const stateDir = "/var/lib/pullnode"

func historyCommand() *command {
	var asJSON bool
	var dir string
	var n int
	return &command{args: "[COMMIT] [-n N] [--json] [--state DIR]", short: "what was tried, and what became of it", maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			jsonFlag(fs, &asJSON)
			fs.StringVar(&dir, "state", stateDir, "the agent's state directory")
			fs.IntVar(&n, "n", 20, "at most this many, newest first")
		},
		run: func(_ context.Context, args []string, out io.Writer) error {
			all, err := state.ReadHistory(dir, 1_000_000)
			if err != nil {
				return hint(fmt.Errorf("can't read %s: %w", dir, err), "only root may: sudo pullnode history")
			}
			slices.Reverse(all)
			if len(args) == 1 {
				all = slices.DeleteFunc(all, func(e state.Entry) bool { return !strings.HasPrefix(e.Commit, args[0]) })
				if len(all) == 0 {
					return fmt.Errorf("the history knows no commit %q", args[0])
				}
			}
			list := all[:min(max(n, 0), len(all))]
			if asJSON {
				return printJSON(out, append([]state.Entry{}, list...)) // never null
			}
			if len(args) == 1 {
				printEntries(out, list)
				return nil
			}
			printHistory(out, list, len(all), time.Now())
			return nil
		}}
}

func printHistory(w io.Writer, list []state.Entry, of int, now time.Time) {
	if of == 0 {
		fmt.Fprintln(w, "nothing was tried yet")
		return
	}
	fmt.Fprintf(w, "     %-11s %-8s %-8s %3s  %-12s %6s  %s\n", "WHEN", "COMMIT", "SIGNER", "GEN", "RESULT", "TOOK", "SUBJECT")
	marked := false
	for _, e := range list {
		mark, gen, signer := " ", "–", e.Signer
		if e.Generation > 0 {
			gen = fmt.Sprint(e.Generation)
		}
		if signer == "" {
			signer = "–"
		}
		if !marked && (e.Result == state.ResultKept || e.Result == state.ResultUnchanged) {
			mark, marked = "*", true
		}
		subject := e.Subject
		if e.Result == state.ResultTrusted {
			subject = e.Why
		}
		fmt.Fprintf(w, "  %s  %-11s %-8s %-8s %3s  %-12s %6s  %s\n", mark, ago(now, e.Time), short(e.Commit), safe(signer), gen, e.Result,
			e.Took.Round(time.Second), safe(subject))
	}
	if len(list) < of {
		fmt.Fprintf(w, "%d of %d attempts. Older: pullnode history -n %d\n", len(list), of, of)
	}
}

func printEntries(w io.Writer, list []state.Entry) {
	for _, e := range list {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s  %s  %s", short(e.Commit), e.Result, safe(e.Subject)), " "))
		fmt.Fprintf(w, "  when     %s\n", e.Time.UTC().Format(time.RFC3339))
		if e.Signer != "" {
			fmt.Fprintf(w, "  signer   %s\n", safe(e.Signer))
		}
		if e.Toplevel != "" {
			fmt.Fprintf(w, "  system   %s\n", e.Toplevel)
		}
		for _, l := range strings.Split(strings.TrimSpace(e.Why), "\n") {
			if l != "" {
				fmt.Fprintf(w, "  why      %s\n", safe(l))
			}
		}
	}
}

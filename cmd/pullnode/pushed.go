package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pullnode/internal/agent"
	"pullnode/internal/state"
	"pullnode/sync"
)

// pushNote is where pullnode push leaves, in the agent's run directory, which commit
// the system is of that comes next.
const pushNote = "push"

// pushedCommand is what deploy-rs runs on the node to activate a system: it gives it
// to the agent, and ends with what became of it.
func pushedCommand() *command {
	var run, dir string
	var wait time.Duration
	return &command{args: "TOPLEVEL", minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&run, "run", runDir, "")
			fs.StringVar(&dir, "state", stateDir, "")
			fs.DurationVar(&wait, "wait", 2*time.Hour, "")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			r := agent.Request{Verb: "push", Toplevel: args[0]}
			note := filepath.Join(run, pushNote)
			if raw, err := os.ReadFile(note); err == nil {
				if id, err := sync.ParseID(strings.TrimSpace(string(raw))); err == nil {
					r.Commit = string(id)
				}
				if err := os.Remove(note); err != nil {
					return err
				}
			}
			old, err := state.ReadHistory(dir, 1)
			if err != nil {
				return err
			}
			begun := time.Time{}
			if len(old) > 0 {
				begun = old[len(old)-1].Time
			}
			if err := put(run, r); err != nil {
				return err
			}
			fmt.Fprintf(out, "pullnode tries %s\n", r.Toplevel)
			e, err := outcome(ctx, run, dir, r.Toplevel, begun, wait)
			if err != nil {
				// A system is not tried at some later time, when nobody looks.
				return errors.Join(err, withdraw(run, r.Toplevel))
			}
			if e.Result != state.ResultKept && e.Result != state.ResultUnchanged {
				return hint(fmt.Errorf("%s was not kept: %s: %s", r.Toplevel, e.Result, safe(e.Why)), "pullnode status")
			}
			fmt.Fprintf(out, "%s is kept\n", r.Toplevel)
			return nil
		}}
}

// takeTimeout is longer than an agent that runs leaves a pushed system lying: it lets
// a build wait for it, and no try is longer.
var takeTimeout = 20 * time.Minute

// outcome waits for the line of the history that tells of a system. The agent may be
// restarted meanwhile, by the system itself.
func outcome(ctx context.Context, run, dir, toplevel string, after time.Time, wait time.Duration) (state.Entry, error) {
	began := time.Now()
	for end := began.Add(wait); time.Now().Before(end); {
		if left, err := asks(run, toplevel); err != nil {
			return state.Entry{}, err
		} else if len(left) > 0 && time.Since(began) > takeTimeout {
			return state.Entry{}, hint(errors.New("the agent does not take the system; it stays as it was"), "systemctl status pullnode")
		}
		all, err := state.ReadHistory(dir, 20)
		if err != nil {
			return state.Entry{}, err
		}
		for _, e := range all {
			if e.Toplevel == toplevel && e.Time.After(after) {
				return e, nil
			}
		}
		select {
		case <-ctx.Done():
			return state.Entry{}, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return state.Entry{}, hint(fmt.Errorf("nothing is known of %s after %s", toplevel, wait), "pullnode status; an agent that is older than this program does not know the request")
}

// asks are the requests for a pushed system that the agent has not taken.
func asks(run, toplevel string) (files []string, err error) {
	dir := filepath.Join(run, "request")
	list, err := os.ReadDir(dir)
	for _, e := range list {
		var r agent.Request
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && json.Unmarshal(raw, &r) == nil && r.Verb == "push" && r.Toplevel == toplevel {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, err
}

// withdraw takes back what the agent has not taken.
func withdraw(run, toplevel string) error {
	files, err := asks(run, toplevel)
	for _, f := range files {
		if e := os.Remove(f); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

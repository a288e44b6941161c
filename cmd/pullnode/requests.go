package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"pullnode/internal/agent"
)

// requestCommand makes the verbs that only leave a small file for the agent.
func requestCommand(verb string) *command {
	r := agent.Request{Verb: verb}
	var dir string
	var asJSON bool
	c := &command{args: "[--json] [--run DIR]", short: map[string]string{
		"sync": "ask the remote now", "retry": "try again what was put back", "suspend": "deploy nothing until resume",
		"resume": "go on after suspend or a hold", "rollback": "go back to an earlier generation and stay there"}[verb]}
	c.flags = func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "run", runDir, "the agent's run directory")
		jsonFlag(fs, &asJSON)
		switch verb {
		case "suspend":
			fs.DurationVar(&r.For, "for", 0, "resume by itself after this long")
		case "rollback":
			fs.IntVar(&r.To, "to", 0, "generation to go back to")
		}
	}
	if verb == "retry" {
		c.args, c.maxArg = "[COMMIT] "+c.args, 1
	}
	c.run = func(_ context.Context, args []string, out io.Writer) error {
		if len(args) == 1 {
			r.Commit = args[0]
		}
		if err := put(dir, r); err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, asked{r})
		}
		_, err := fmt.Fprintf(out, "asked the agent to %s%s\n", verb, forHow(r))
		return err
	}
	return c
}

func forHow(r agent.Request) string {
	if r.For > 0 {
		return " for " + r.For.Round(time.Second).String()
	}
	return ""
}

// asked is what a request prints as JSON.
type asked struct {
	Asked agent.Request `json:"asked"`
}

// put leaves the request where the agent finds it.
func put(dir string, r agent.Request) error {
	err := agent.Put(dir, r)
	if errors.Is(err, os.ErrPermission) {
		return hint(errors.New("can't ask the agent: only root may"), "sudo pullnode "+r.Verb)
	}
	if err != nil {
		return hint(fmt.Errorf("can't ask the agent: %w", err), "systemctl status pullnode")
	}
	return nil
}

package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pullnode/internal/registry"
)

// exitNotYet is the status by which a command says "ask again"; Mender's state
// scripts use the same number.
const exitNotYet = 21

func init() {
	registry.Add(&Kinds, "command", func(s commandSettings) (Maker, error) {
		if len(s.Argv) == 0 || s.Argv[0] == "" {
			return Maker{}, errors.New("argv: names no program")
		}
		for _, a := range s.Argv {
			if strings.ContainsRune(a, 0) {
				return Maker{}, errors.New("argv: holds a zero byte")
			}
		}
		return Maker{Make: func(spec Spec, seams Seams) (Check, error) {
			if seams.Commander == nil {
				return nil, errors.New("nothing can run commands here")
			}
			return command{seams.Commander, Command{Check: spec.Name, Argv: s.Argv, User: s.User, Timeout: spec.Timeout}}, nil
		}}, nil
	})
}

type commandSettings struct {
	Argv []string `json:"argv"`
	User string   `json:"user"`
}

type command struct {
	run Commander
	cmd Command
}

// Run runs the command once: exit status 0 is well, 21 is not yet.
func (c command) Run(ctx context.Context) error {
	r, err := c.run.Command(ctx, c.cmd)
	name := c.cmd.Argv[0]
	switch {
	case err != nil:
		return fmt.Errorf("%w: run %s: %w", ErrUnknown, name, err)
	case r.TimedOut:
		err = fmt.Errorf("%s did not end within %v", name, c.cmd.Timeout.Round(time.Millisecond))
	case r.Signal != "":
		err = fmt.Errorf("%s was killed by signal %s", name, r.Signal)
	case r.Exit == exitNotYet:
		err = fmt.Errorf("%w: %s", ErrNotYet, name)
	case r.Exit != 0:
		err = fmt.Errorf("%s ended with status %d", name, r.Exit)
	default:
		return nil
	}
	if last := lastLine(r.Output); last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

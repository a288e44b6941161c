package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"pullnode/keysrc"
)

// holdCommand is pullnode-hold.service: while its file exists a try goes on, and
// the keys process keeps the key for a revert whose source may be gone by then.
func holdCommand() *command {
	return &command{args: "start|stop", minArg: 1, maxArg: 1, run: func(_ context.Context, args []string, _ io.Writer) error {
		switch args[0] {
		case "start":
			return os.WriteFile(keysrc.HoldFile, nil, 0o600)
		case "stop":
			if err := os.Remove(keysrc.HoldFile); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		return usageError("hold: %q is neither start nor stop", args[0])
	}}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"pullnode/internal/config"
	"pullnode/keysrc"
)

// keyCommands are the verbs of two words: of key, keyserver and recovery.
func keyCommands() map[string]*command {
	return map[string]*command{
		"keyserver add":  keyserverAddCommand(),
		"keyserver init": keyserverInitCommand(),

		"recovery init": recoveryInitCommand(),
		"recovery test": recoveryTestCommand(),
		"recovery use":  recoveryUseCommand(),

		"key approve": keyApproveCommand(),
		"key enroll":  keyEnrollCommand(),
		"key new":     keyNewCommand(),
		"key revoke":  keyRevokeCommand(),
		"key rotate":  keyRotateCommand(),
		"key seal":    keySealCommand(),
		"key show":    keyShowCommand(),
		"key test":    keyTestCommand(),
	}
}

// keyShowCommand tells what the keys process holds; it makes it look for nothing.
func keyShowCommand() *command {
	var asJSON bool
	var socket string
	return &command{short: "say what the keys process of this host holds", flags: func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "for machines")
		fs.StringVar(&socket, "socket", keySocket, "where the keys process listens")
	}, run: func(ctx context.Context, _ []string, out io.Writer) error {
		ctx, cancel := context.WithTimeout(ctx, proveTimeout)
		defer cancel()
		s, err := keysrc.Client{Path: socket}.Holding(ctx)
		if err != nil {
			return hint(err, "sudo systemctl status pullnode-keys.socket pullnode-keys.service")
		}
		if asJSON {
			return json.NewEncoder(out).Encode(s)
		}
		showHolding(out, s)
		return nil
	}}
}

func showHolding(out io.Writer, s keysrc.Holding) {
	if !s.Held {
		fmt.Fprintln(out, "no key is held")
	} else {
		fmt.Fprintf(out, "key      %s\nsource   %s\nsince    %s, used %d times\n", strings.Join(s.Recipients, " "), s.Source, s.Since.Local().Format(time.DateTime), s.Unwraps)
		memory := "in a device that does not give it out"
		if s.Memory != "" {
			memory = string(s.Memory)
		}
		restarts := "a restart of the keys process asks the sources again"
		if s.Restarts {
			restarts = "a restart of the keys process keeps it"
		}
		fmt.Fprintf(out, "memory   %s; %s\n", memory, restarts)
	}
	if !s.Erases {
		fmt.Fprintln(out, "copies   made while the key is used are freed and not overwritten (this build is without GOEXPERIMENT=runtimesecret)")
	}
	busy := ""
	if s.Busy {
		busy = "; a new system is being tried"
	}
	fmt.Fprintf(out, "hold     %s%s\n", s.Hold, busy)
	if s.Missing {
		fmt.Fprintln(out, "missing  a program asked for a secret in vain; the sources are asked until the key has come")
	}
	if s.Problem != "" {
		fmt.Fprintf(out, "problem  %s\n", s.Problem)
	}
}

// keyTestCommand asks every source by itself, also those behind one that gives
// the key, as a spare that does not work is no spare.
func keyTestCommand() *command {
	var path string
	return &command{short: "ask every source of the key by itself", flags: func(fs *flag.FlagSet) {
		fs.StringVar(&path, "config", configPath, "settings file")
	}, run: func(ctx context.Context, _ []string, out io.Writer) error {
		c, err := config.Load(path)
		if err != nil {
			return err
		}
		ch, err := chain(c)
		if err != nil {
			return err
		}
		if len(ch.Sources) == 0 {
			return hint(errors.New("no source is configured"), "set keys.sources; docs/keys.md")
		}
		var failed int
		for _, s := range ch.Sources {
			ctx, cancel := context.WithTimeout(ctx, proveTimeout)
			k, err := keysrc.Chain{Recipient: ch.Recipient, Sources: []keysrc.Source{s}}.Fetch(ctx)
			cancel()
			switch {
			case err == nil:
				fmt.Fprintf(out, "ok      %s gives %s\n", s.Name(), k.Recipient())
				k.Wipe()
			case errors.Is(err, keysrc.ErrAbsent):
				failed++
				fmt.Fprintf(out, "absent  %v\n", err)
			default:
				failed++
				fmt.Fprintf(out, "failed  %v\n", err)
			}
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d sources do not give the key", failed, len(ch.Sources))
		}
		return nil
	}}
}

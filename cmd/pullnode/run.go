package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/daemon"

	"pullnode/internal/agent"
	"pullnode/internal/config"
)

func runCommand() *command {
	var once bool
	var path, root string
	return &command{args: "[--config FILE] [--root DIR] [--once]", short: "the node's loop; with --root in one process and one directory",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&once, "once", false, "one cycle, then stop")
			fs.StringVar(&path, "config", configPath, "settings file")
			fs.StringVar(&root, "root", "", "keep everything below this directory")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			var a *agent.Agent
			if root == "" {
				if os.Geteuid() != 0 {
					return hint(errors.New("the installed agent runs as root"), "sudo systemctl start pullnode", "to try it out: pullnode run --config FILE --root DIR")
				}
				a, err = installed(c, path, log)
			} else if root, err = filepath.Abs(root); err == nil {
				a, err = onePlace(c, root, log)
			}
			if err != nil {
				return err
			}
			defer a.Store.Close()
			if !once {
				// Ready before anything is looked at: the switch that restarts
				// this unit waits for it.
				daemon.SdNotify(false, daemon.SdNotifyReady)
				a.Tell = func(line string) { daemon.SdNotify(false, "STATUS="+safe(line)) }
				return a.Run(ctx, func() { daemon.SdNotify(false, daemon.SdNotifyWatchdog) })
			}
			if _, err := a.Cycle(ctx); err != nil {
				return err
			}
			if err := a.Store.Blocked(); err != nil {
				return err
			}
			v := a.Store.State().Verdict
			_, err = fmt.Fprintf(out, "%s %s %s\n", v.Name, short(v.Commit), safe(v.Text))
			return err
		}}
}

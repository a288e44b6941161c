package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"pullnode/internal/config"
)

func runCommand() *command {
	var once bool
	var path, root string
	return &command{args: "--config FILE --root DIR [--once]", short: "the node's loop, in one process and one directory",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&once, "once", false, "one cycle, then stop")
			fs.StringVar(&path, "config", "/etc/pullnode/pullnode.json", "settings file")
			fs.StringVar(&root, "root", "", "keep everything below this directory")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			if root == "" {
				return errNoRoot
			}
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			if root, err = filepath.Abs(root); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			a, err := onePlace(c, root, log)
			if err != nil {
				return err
			}
			defer a.Store.Close()
			if !once {
				return a.Run(ctx, func() {})
			}
			if _, err := a.Cycle(ctx); err != nil {
				return err
			}
			v := a.Store.State().Verdict
			_, err = fmt.Fprintf(out, "%s %s %s\n", v.Name, short(v.Commit), safe(v.Text))
			return err
		}}
}

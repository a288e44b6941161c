package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"pullnode/internal/config"
	"pullnode/internal/state"
)

func doctorCommand() *command {
	var path, dir string
	return &command{args: "[--config FILE] [--state DIR]", short: "try every part by itself",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&path, "config", configPath, "settings file")
			fs.StringVar(&dir, "state", stateDir, "the agent's state directory")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			d := &doctor{out: out}
			d.config(path)
			d.state(dir)
			d.nix(ctx)
			d.disk("/nix", 2<<30)
			fmt.Fprintf(out, "\n%d problems\n", d.problems)
			if d.problems > 0 {
				return exitError(exitFailed)
			}
			return nil
		}}
}

type doctor struct {
	out      io.Writer
	problems int
}

func (d *doctor) line(part string, err error, good string) {
	if err != nil {
		d.problems++
		fmt.Fprintf(d.out, "%-8s ✗ %s\n", part, safe(err.Error()))
		return
	}
	fmt.Fprintf(d.out, "%-8s ✓ %s\n", part, safe(good))
}

func (d *doctor) config(path string) {
	c, err := config.Load(path)
	if err == nil {
		err = openKinds(c)
	}
	d.line("config", err, path+" is valid")
}

func (d *doctor) state(dir string) {
	h, err := state.ReadHistory(dir, 1)
	good := dir + " is readable, nothing was tried yet"
	if len(h) > 0 {
		good = fmt.Sprintf("%s is readable, last: %s %s", dir, short(h[0].Commit), h[0].Result)
	}
	d.line("state", err, good)
}

func (d *doctor) nix(ctx context.Context) {
	out, err := exec.CommandContext(ctx, "nix", "--version").CombinedOutput()
	if err != nil {
		d.line("nix", fmt.Errorf("nix does not run: %w", err), "")
		return
	}
	conf, err := exec.CommandContext(ctx, "nix", "--extra-experimental-features", "nix-command", "show-config").Output()
	if err == nil && bytes.Contains(conf, []byte("accept-flake-config = true")) {
		err = fmt.Errorf("nix.conf sets accept-flake-config: a flake may widen what this machine trusts; remove it")
	}
	d.line("nix", err, strings.TrimSpace(string(out)))
}

func (d *doctor) disk(path string, need uint64) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	free := st.Bavail * uint64(st.Bsize)
	if err == nil && free < need {
		err = fmt.Errorf("%s has %d MiB free; a deployment may need %d MiB", path, free>>20, need>>20)
	}
	d.line("disk", err, fmt.Sprintf("%s has %d MiB free", path, free>>20))
}

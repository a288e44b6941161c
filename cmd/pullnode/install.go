package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/config"
	"pullnode/internal/install"
	"pullnode/keysrc"
	"pullnode/sync"
)

// installSettings is where the installer image has the repository's settings.
const installSettings = "/etc/pullnode/install.json"

// installer is one run of pullnode install.
type installer struct {
	install.Installer
	conf             *config.Config
	work             string // a directory of this run, in memory on the image
	staging          string // what the new root gets: host keys, extra files
	disk, yes        string
	disks            []string // that were wiped
	wipe, reboot     bool
	generated        bool // the host key is new
	newKey           ssh.PublicKey
	wait, poll       time.Duration
	in               *bufio.Reader
	verified         sync.Verified
	out              io.Writer
	hostKey, extra   string
	recipientPrinted bool
	remote           *remoteTarget // nil: the disks of this machine
}

func installCommand() *command {
	i := &installer{in: bufio.NewReader(os.Stdin)}
	var conf string
	var noReboot, asJSON bool
	var far remoteTarget
	return &command{args: "HOST [--target root@ADDRESS] [--disk DEVICE] [--wipe] [--yes-wipe HOST] [--host-key FILE] [-- NIXOS-ANYWHERE'S OPTIONS]", minArg: 1, maxArg: 1,
		short: "put HOST on this machine's disks, on the installer image; with --target on another's, from a clone",
		rest:  &far.pass,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&conf, "config", "", "settings: url, branch, introduction, auth; default "+installSettings+", with --target none")
			far.flags(fs)
			fs.StringVar(&i.disk, "disk", "", "the one disk that may be touched; another one in the host's configuration is refused")
			fs.BoolVar(&i.wipe, "wipe", false, "overwrite disks that have data on them, after the host's name was typed")
			fs.StringVar(&i.yes, "yes-wipe", "", "the host's name, instead of typing it")
			fs.StringVar(&i.hostKey, "host-key", "", "the host's ed25519 SSH key; default: a new one")
			fs.StringVar(&i.extra, "extra-files", "", "a directory whose files the new root gets")
			fs.DurationVar(&i.wait, "wait", time.Hour, "how long to wait for a commit with which the secrets open; with --target also for the first sync")
			fs.DurationVar(&i.poll, "poll", 15*time.Second, "how often to look again while waiting")
			fs.BoolVar(&noReboot, "no-reboot", false, "stay in the installer")
			fs.BoolVar(&asJSON, "json", false, "print what was installed as JSON; progress goes to standard error")
			fs.StringVar(&i.Root, "root", "/mnt", "where the new system is mounted")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			i.Host, i.out, i.reboot = args[0], out, !noReboot
			if err := i.settings(conf, &far); err != nil {
				return err
			}
			i.Say = func(format string, a ...any) { fmt.Fprintf(out, format+"\n", a...) }
			i.Run = nixTool
			if asJSON {
				i.out = os.Stderr
				i.Say = func(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
			}
			if err := i.do(ctx); err != nil || !asJSON {
				return err
			}
			return printJSON(out, map[string]any{"host": i.Host, "commit": i.verified.Commit().ID, "signer": i.verified.Signer(), "disks": i.disks})
		}}
}

// do is the whole way. No disk is touched before everything else was asked.
func (i *installer) do(ctx context.Context) (err error) {
	if i.work, err = os.MkdirTemp("", "pullnode-install-"); err != nil {
		return err
	}
	defer os.RemoveAll(i.work)
	if err := i.stage(); err != nil {
		return err
	}
	if i.remote != nil {
		return i.overSSH(ctx)
	}
	if err := i.Unmounted(ctx); err != nil {
		return hint(err, "no disk was touched; umount --recursive "+i.Root)
	}
	defer func() { err = errors.Join(err, i.keepKey(err)) }()
	facts, err := i.ready(ctx)
	if err != nil {
		return err
	}
	report := i.report(ctx)
	if err := i.mayWipe(ctx, facts); err != nil {
		return err
	}
	if err := i.onDisk(ctx, report); err != nil {
		i.Leave(ctx, facts.Devices())
		return hint(err, "the disks have no system now, and what is left on them counts as data: pullnode install "+i.Host+" --wipe starts over")
	}
	i.Say("installed %s at %s", i.Host, i.verified.Commit().ID.Short())
	if !i.reboot {
		return nil
	}
	_, err = i.Run(ctx, "systemctl", "reboot")
	return err
}

// onDisk is what is done once the disks may go.
func (i *installer) onDisk(ctx context.Context, report string) error {
	if err := i.Install(ctx, i.staging); err != nil {
		return err
	}
	if err := i.carryTrust(i.Root); err != nil {
		return err
	}
	if err := i.carryReport(report); err != nil {
		return err
	}
	return i.Finish(ctx)
}

// ready fetches, verifies and evaluates, until the host's secrets open.
func (i *installer) ready(ctx context.Context) (install.Facts, error) {
	deadline := time.Now().Add(i.wait)
	for {
		if err := i.authenticate(ctx); err != nil {
			return install.Facts{}, err
		}
		facts, err := i.Look(ctx)
		if err != nil {
			return facts, hint(err, "in a clone: pullnode new-host "+i.Host)
		}
		err = i.secretsOpen(ctx, facts)
		var locked *keysrc.PreflightError
		if err == nil || !errors.As(err, &locked) {
			return facts, err
		}
		told := i.recipientPrinted
		i.recipientPrinted = i.generated // the error has it, too
		if !i.generated || time.Now().After(deadline) {
			return facts, hint(err, "add the host to .sops.yaml, sops updatekeys, commit signed and push; no disk was touched")
		}
		if !told {
			i.Say("%v", err)
			i.Say("waiting for a commit with which they open; no disk was touched")
		}
		select {
		case <-ctx.Done():
			return facts, ctx.Err()
		case <-time.After(i.poll):
		}
	}
}

// mayWipe refuses to overwrite what nobody said may go.
func (i *installer) mayWipe(ctx context.Context, facts install.Facts) error {
	devices := facts.Devices()
	i.disks = devices
	if i.disk != "" && (len(devices) != 1 || !i.Same(ctx, devices[0], i.disk)) {
		return fmt.Errorf("%s installs on %s, and only %s may be touched", i.Host, strings.Join(devices, " and "), i.disk)
	}
	disks, err := i.Disks(ctx, devices)
	if used := (*install.InUse)(nil); errors.As(err, &used) {
		return hint(fmt.Errorf("%w; no disk was touched", err), "if it may go: umount or swapoff it")
	}
	if err != nil {
		return fmt.Errorf("%w; no disk was touched", err)
	}
	full := false
	for _, d := range disks {
		if d.Data != "" {
			full = true
			i.Say("%s has data: %s", d.Path, safe(d.Data))
		}
	}
	if !full {
		return nil
	}
	if !i.wipe {
		return hint(errors.New("the disks have data on them; none was touched"), "to lose it, the same command with --wipe")
	}
	name := i.yes
	if name == "" {
		if name, err = i.ask(ctx, "All of it will be lost. Type the host's name to go on: "); err != nil {
			return err
		}
	}
	if name != i.Host {
		return fmt.Errorf("%q is not %s; no disk was touched", name, i.Host)
	}
	return nil
}

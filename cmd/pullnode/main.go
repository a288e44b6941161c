// Command pullnode keeps a NixOS machine at the newest commit that its operators
// signed. One binary is the agent, the fetching process, the keys process and
// the command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pullnode/keysrc"
)

// Exit statuses of every command.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNotWell = 3 // the command worked and the node is not well
)

func main() {
	asPlugin()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// asPlugin does not return when this program was started as the age plugin, which
// is a link to it.
func asPlugin() {
	if filepath.Base(os.Args[0]) == keysrc.PluginProgram {
		os.Exit(keysrc.Plugin(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// command is one verb: one file each.
type command struct {
	args   string // after the name, for the usage line
	short  string // what it does; empty for verbs that only units call
	flags  func(*flag.FlagSet)
	run    func(ctx context.Context, args []string, out io.Writer) error
	minArg int
	maxArg int
	// verbatim says that the arguments are another program's command line, whose
	// flags are its own.
	verbatim bool
	// rest gets what stands behind "--", where that goes to another program.
	rest *[]string
}

func commands() map[string]*command {
	return map[string]*command{
		"run":           runCommand(),
		"status":        statusCommand(),
		"history":       historyCommand(),
		"verify":        verifyCommand(),
		"init":          initCommand(),
		"sync":          requestCommand("sync"),
		"retry":         requestCommand("retry"),
		"suspend":       requestCommand("suspend"),
		"resume":        requestCommand("resume"),
		"rollback":      requestCommand("rollback"),
		"trust":         trustCommand(),
		"doctor":        doctorCommand(),
		"check-config":  checkCommand(),
		"keyserver":     keyserverCommand(),
		"version":       versionCommand(),
		"approve":       approveCommand(),
		"endorse":       endorseCommand(),
		"reset":         resetCommand(),
		"rotate-signer": rotateCommand(),
		"hook":          hookCommand(),
		"lint":          lintCommand(),
		"install":       installCommand(),
		"image":         imageCommand(),
		"push":          pushCommand(),
		"new-host":      newHostCommand(),
		"decide":        decideCommand(),
		"fetch-child":   fetchChildCommand(),
	}
}

const usage = `pullnode keeps a NixOS machine at the newest commit that you signed.

  pullnode init             make a repository that nodes can trust
  pullnode run [--once]     the node's loop
  pullnode status           what this node runs and why
  pullnode history [COMMIT] what was tried, and what became of it
  pullnode verify [COMMIT]  explain a verdict; changes nothing
  pullnode sync             ask the remote now
  pullnode retry [COMMIT]   try again what was put back
  pullnode suspend [--for 2h], resume
  pullnode rollback [--to N]
  pullnode trust COMMIT     begin anew with this commit
  pullnode approve          sign what a branch is at
  pullnode endorse COMMIT   vouch for what a forge merged, on the deploy branch
  pullnode lint             what is allowed and unwise
  pullnode rotate-signer, reset, hook
  pullnode doctor           try every part by itself
  pullnode key show         what the keys process holds
  pullnode key test         ask every source of the key by itself
  pullnode key seal FILE    put the key into this machine's TPM
  pullnode key new HOST     make a host's key, and encrypt its secrets for it
  pullnode key enroll       on a host: ask that its secrets are for its own key
  pullnode key approve REQ  check that request, and encrypt for it
  pullnode key rotate HOST  replace a host's key in two steps
  pullnode key revoke HOST  shut a lost key out; list what it could read
  pullnode keyserver [init|add HOST]
  pullnode recovery init    make a recovery key, as shares of several keepers
  pullnode recovery test|use
  pullnode new-host NAME    make a machine's folder in hosts/
  pullnode secret new|edit FILE, check
  pullnode check-config F   check a settings file
  pullnode install HOST     on the installer image: put HOST on its disks
  pullnode install HOST --target root@ADDRESS   over SSH, by nixos-anywhere
  pullnode push HOST        by deploy-rs, for the day when pulling is broken
  pullnode image HOST       build an installer or a machine's image
  pullnode version

Those that print take --json. Exit status: 0 ok, 1 failed or refused, 2 usage,
3 the command worked and the node is not well.
`

func run(args []string, stdout, stderr io.Writer) int {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(stdout, usage)
		return exitOK
	}
	c, name := lookup(args)
	if c == nil {
		return report(stderr, usageError("unknown command %q%s; pullnode help lists them", args[0], nearest(args[0])))
	}
	return report(stderr, c.call(ctx, name, args[1+strings.Count(name, " "):], stdout))
}

// lookup gives the command that args begin with, whose name may have two words.
func lookup(args []string) (*command, string) {
	if len(args) > 1 {
		name := args[0] + " " + args[1]
		for _, two := range []map[string]*command{keyCommands(), secretCommands()} {
			if c := two[name]; c != nil {
				return c, name
			}
		}
	}
	if c := commands()[args[0]]; c != nil {
		return c, args[0]
	}
	return unitCommands()[args[0]], args[0]
}

func (c *command) call(ctx context.Context, name string, args []string, out io.Writer) error {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if c.flags != nil {
		c.flags(fs)
	}
	if c.rest != nil {
		if i := slices.Index(args, "--"); i >= 0 {
			args, *c.rest = args[:i], args[i+1:]
		}
	}
	// Flags may stand behind arguments, as people type them.
	var rest []string
	verbatim := args
	if c.verbatim && len(args) > 0 && args[0] != "-h" && args[0] != "--help" {
		args = nil
	}
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprintf(out, "usage: pullnode %s\n%s\n", strings.TrimSpace(name+" "+c.args), c.short)
				fs.SetOutput(out)
				fs.PrintDefaults()
				return nil
			}
			return usageError("%s: %v", name, err)
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if c.verbatim {
		rest = verbatim
	}
	if len(rest) < c.minArg || len(rest) > c.maxArg {
		return usageError("usage: pullnode %s %s", name, c.args)
	}
	return c.run(ctx, rest, out)
}

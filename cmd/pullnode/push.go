package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"pullnode/internal/install"
)

// pushProfile is the profile by which deploy-rs hands a system to pullnode; lib.mkFleet
// names it. The system profile is pullnode's own.
const pushProfile = "/nix/var/nix/profiles/pullnode-push"

// deployNode is a node of the flake's deploy.nodes, as far as it is asked.
type deployNode struct {
	Hostname string   `json:"hostname"`
	SSHUser  string   `json:"sshUser"`
	SSHOpts  []string `json:"sshOpts"`
	Profile  string   `json:"profile"`
}

func pushCommand() *command {
	var c cloneTree
	var pass []string
	var asJSON bool
	return &command{args: "HOST [-- DEPLOY-RS'S OPTIONS]", minArg: 1, maxArg: 1, rest: &pass,
		short: "bring HOST the clone's signed commit by deploy-rs, for the day when pulling is broken",
		flags: func(fs *flag.FlagSet) {
			c.flags(fs)
			jsonFlag(fs, &asJSON)
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			tip, err := push(ctx, &c, args[0], pass)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, map[string]string{"host": args[0], "commit": tip})
			}
			_, err = fmt.Fprintf(out, "%s keeps %s\n", args[0], short(tip))
			return err
		}}
}

// push drives deploy-rs with the verified tree. The node's pullnode makes the switch.
func push(ctx context.Context, c *cloneTree, host string, pass []string) (string, error) {
	if !hostNameRE.MatchString(host) {
		return "", usageError("%q is no host name", host)
	}
	for _, a := range pass {
		if name, _, _ := strings.Cut(a, "="); slices.Contains([]string{"--targets", "-f", "--file", "--boot", "--hostname", "--profile-user"}, name) || !strings.HasPrefix(a, "-") && strings.ContainsAny(a, "#:") {
			return "", usageError("%s is not for passing through: pullnode gives deploy-rs the verified tree and the host itself", a)
		}
	}
	work, err := os.MkdirTemp("", "pullnode-push-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	// Of the clone alone: the server may be what is broken.
	tip, flake, err := c.checkout(ctx, host, work, "nothing is pushed:")
	if err != nil {
		return "", err
	}
	n, err := nodeOf(ctx, flake, host)
	if err != nil {
		return "", err
	}
	become := ""
	if n.SSHUser != "root" {
		become = "sudo "
	}
	note := fmt.Sprintf(`%[1]ssh -c 'test -d %[2]s/request || exit %[5]d; systemctl is-active --quiet pullnode.service || exit %[6]d; umask 077; echo %[3]s > %[2]s/%[4]s'`,
		become, runDir, tip, pushNote, noPullnode, noAgent)
	argv := append(append([]string{"ssh", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10"}, n.SSHOpts...), "--", n.SSHUser+"@"+n.Hostname, note)
	if _, err := quietTool(ctx, argv...); err != nil {
		return "", mayNotPush(host, n, err)
	}
	argv = append([]string{"deploy", "--skip-checks", flake + "#" + host}, pass...)
	if err := driveTool(ctx, append(os.Environ(), nixConfig()), argv...); err != nil {
		return "", hint(fmt.Errorf("deploy: %w", err), "ssh "+n.SSHUser+"@"+n.Hostname+" pullnode status")
	}
	return tip, nil
}

// What the node's shell ends with that cannot take a system.
const (
	noPullnode = 93
	noAgent    = 94
)

// mayNotPush says why a node takes no system, before anything is built.
func mayNotPush(host string, n deployNode, err error) error {
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	at := n.SSHUser + "@" + n.Hostname
	switch code {
	case noPullnode:
		return hint(fmt.Errorf("%s has no agent that could take a system: pullnode never ran there", host), "docs/install.md: a machine that runs NixOS")
	case noAgent:
		return hint(fmt.Errorf("the agent of %s does not run, and only it switches with checks and guard; nothing was pushed", host),
			"ssh "+at+" systemctl status pullnode",
			"without checks and guard, from a checkout of the signed commit: nixos-rebuild switch --flake .#"+host+" --target-host "+at)
	}
	return hint(fmt.Errorf("%s was not asked whether it has an agent: %w", host, err), "docs/nixos.md: when pull is broken")
}

// nodeOf says how deploy-rs would reach the host, and refuses one whose system would
// be switched to without pullnode's checks and guard.
func nodeOf(ctx context.Context, flake, host string) (n deployNode, err error) {
	raw, err := runTool(ctx, install.Nix("eval", "--json", flake+`#deploy.nodes."`+host+`"`, "--apply",
		`n: { inherit (n) hostname; sshUser = n.sshUser or "root"; sshOpts = n.sshOpts or [ ]; profile = n.profiles.system.profilePath or ""; }`)...)
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return n, fmt.Errorf("deploy.nodes.%s does not evaluate: %w", host, err)
	}
	if n.Profile != pushProfile {
		return n, hint(fmt.Errorf("deploy.nodes.%s would switch %s without pullnode's checks and guard", host, host), "take deploy from lib.mkFleet, with services.pullnode.enable on the machine")
	}
	if _, err := install.ParseLogin(n.SSHUser + "@" + n.Hostname); err != nil {
		return n, fmt.Errorf("deploy.nodes.%s: %w", host, err)
	}
	return n, nil
}

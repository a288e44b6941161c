package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var nixVersionRE = regexp.MustCompile(`\) (\d+)\.(\d+)`)

// oldestNix is what pullnode is tested with: Debian 12's.
var oldestNix = [2]int{2, 8}

// nix looks whether Nix can do what a deployment asks of it.
func (d *doctor) nix(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := d.runNix(ctx, "--version")
	if err != nil {
		d.fail("nix", "install Nix, at least 2.8, where the agent's PATH finds it", "nix does not run: %v", err)
		return
	}
	m := nixVersionRE.FindStringSubmatch(out)
	if m == nil {
		d.warn("nix", "pullnode is tested with 2.8 and newer", "its version is not understood: %q", strings.TrimSpace(out))
	} else if major, minor := number(m[1]), number(m[2]); major < oldestNix[0] || major == oldestNix[0] && minor < oldestNix[1] {
		d.fail("nix", "install Nix 2.8 or newer", "%s.%s is too old", m[1], m[2])
		return
	}
	if _, err := d.runNix(ctx, "eval", "--store", "dummy://", "--expr", "1"); err != nil {
		d.fail("nix", "this Nix was built without the features nix-command and flakes", "it does not evaluate: %v", err)
		return
	}
	d.ok("nix", "%s evaluates", strings.TrimSpace(out))
	d.nixConf(ctx)
	d.nixDaemon(ctx)
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

func (d *doctor) runNix(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nix", append([]string{"--extra-experimental-features", "nix-command flakes"}, args...)...)
	cmd.Env = append(os.Environ(), d.nixEnv...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		err = errors.New(strings.TrimPrefix(lines[len(lines)-1], "error: "))
	}
	return string(out), err
}

// nixConf judges the settings that decide whom this machine trusts.
func (d *doctor) nixConf(ctx context.Context) {
	out, err := d.runNix(ctx, "show-config", "--json")
	var conf map[string]struct {
		Value any `json:"value"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &conf)
	}
	if err != nil {
		d.fail("nix", "look at /etc/nix/nix.conf", "its settings cannot be read: %v", err)
		return
	}
	before := len(d.findings)
	if conf["accept-flake-config"].Value == true {
		d.fail("nix", "remove it from nix.conf", "accept-flake-config is on: a commit may widen what this machine trusts")
	}
	if conf["require-sigs"].Value == false && d.root == "" {
		d.fail("nix", "remove it from nix.conf", "require-sigs is off: any cache server may give this machine anything")
	}
	if v := conf["sandbox"].Value; v != true && v != "true" && d.root == "" {
		d.warn("nix", "set sandbox = true in nix.conf", "the sandbox is off: a build can see and reach what the machine can")
	}
	users, _ := conf["trusted-users"].Value.([]any)
	if slices.Contains(users, any("*")) {
		d.fail("nix", "name only root in trusted-users of nix.conf", "trusted-users has *: any local user is as good as root")
	}
	if len(d.findings) == before {
		d.ok("nix", "its settings widen nothing")
	}
}

func (d *doctor) nixDaemon(ctx context.Context) {
	if d.daemon == "" {
		return
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", d.daemon)
	if err != nil {
		d.fail("nix", "sudo systemctl start nix-daemon.socket", "the daemon does not answer: %v", err)
		return
	}
	conn.Close()
	d.ok("nix", "the daemon listens")
}

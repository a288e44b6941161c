package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pullnode/internal/durable"
	"pullnode/keysrc"
)

var (
	hostNameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	deviceRE   = regexp.MustCompile(`^/dev/[A-Za-z0-9/._:-]+$`)
)

// hostFolder is what a machine's folder is made of.
type hostFolder struct {
	Name        string   `json:"host"`
	System      string   `json:"system"`
	Environment string   `json:"environment,omitempty"`
	Disk        string   `json:"disk"`
	Files       []string `json:"files"`
	HostKey     string   `json:"hostKey,omitempty"`
	Recipient   string   `json:"recipient,omitempty"`

	join join
}

func newHostCommand() *command {
	var h hostFolder
	var repo string
	var asJSON bool
	return &command{args: "NAME [--environment E] [--disk DEVICE] [--host-key FILE [--with WHO] [--also FILES]]", short: "make a machine's folder in hosts/", minArg: 1, maxArg: 1,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.StringVar(&h.System, "system", "x86_64-linux", "its architecture")
			fs.StringVar(&h.Environment, "environment", "", "its environment, as lib.mkFleet knows it")
			fs.StringVar(&h.Disk, "disk", "/dev/vda", "its disk; all of it is used")
			fs.StringVar(&h.HostKey, "host-key", "", "make its SSH host key here, outside of the repository, so that secrets can be encrypted for it before it exists")
			fs.BoolVar(&asJSON, "json", false, "print JSON")
			h.join.flags(fs)
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			top, err := gitIn(ctx, repo, "rev-parse", "--show-toplevel")
			if err != nil {
				return hint(fmt.Errorf("%s is not a Git repository", repo), "git init -b main "+repo)
			}
			h.Name, h.join.host = args[0], args[0]
			said := out
			if asJSON {
				said = io.Discard
			}
			if err := h.make(ctx, top, said); err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, h)
			}
			h.say(out)
			return nil
		}}
}

// joins says that .sops.yaml is to have the machine's key.
func (h *hostFolder) joins() bool { return h.join.with != "" || h.join.also != "" || h.join.shared }

func (h *hostFolder) make(ctx context.Context, top string, out io.Writer) error {
	switch {
	case !hostNameRE.MatchString(h.Name):
		return usageError("%q is no host name: lower case letters, digits and hyphens", h.Name)
	case !slices.Contains([]string{"x86_64-linux", "aarch64-linux"}, h.System):
		return usageError("%q is no system; there are x86_64-linux and aarch64-linux", h.System)
	case h.Environment != "" && !hostNameRE.MatchString(h.Environment):
		return usageError("%q is no name of an environment", h.Environment)
	case !deviceRE.MatchString(h.Disk):
		return usageError("%q is no disk; write it like /dev/vda", h.Disk)
	case h.joins() && h.HostKey == "":
		return usageError("--with, --also and --shared say who opens secrets beside the key of --host-key, which is missing")
	}
	dir := filepath.Join(top, "hosts", h.Name)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("hosts/%s is there already", h.Name)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var secrets *secretRepo
	var rules []int
	if h.joins() {
		var err error
		if secrets, err = openSecretRepo(ctx, top, out); err != nil {
			return err
		}
		if err := h.join.fresh(secrets, ""); err != nil {
			return err
		}
		if rules, err = h.join.rules(secrets); err != nil {
			return err
		}
	}
	if err := h.makeKey(ctx, top); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"host.nix", h.hostNix()}, {"default.nix", h.defaultNix(top)}, {"disko.nix", strings.ReplaceAll(diskoNix, "@disk@", h.Disk)},
	} {
		if err := durable.CreateExclusive(filepath.Join(dir, f.name), []byte(f.text), 0o644); err != nil {
			return err
		}
		h.Files = append(h.Files, filepath.Join("hosts", h.Name, f.name))
	}
	if secrets != nil {
		return h.join.do(secrets, rules, h.Recipient)
	}
	return nil
}

// makeKey makes the machine's SSH host key and tells what secrets are encrypted
// for.
func (h *hostFolder) makeKey(ctx context.Context, top string) error {
	if h.HostKey == "" {
		return nil
	}
	path, err := filepath.Abs(h.HostKey)
	if err != nil {
		return err
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if rel, err := filepath.Rel(top, path); err == nil && filepath.IsLocal(rel) {
		return usageError("--host-key %s is in the repository: a private key must not be", h.HostKey)
	}
	raw, err := makeHostKey(h.Name)
	if err != nil {
		return err
	}
	if err := durable.CreateExclusive(path, raw, 0o600); err != nil {
		return err
	}
	h.HostKey = path
	source, err := json.Marshal(map[string]string{"type": "ssh-host-key", "path": path})
	if err != nil {
		return err
	}
	ch, err := keysrc.OpenAll([]json.RawMessage{source})
	if err != nil {
		return err
	}
	k, err := ch.Fetch(ctx)
	if err != nil {
		return err
	}
	defer k.Wipe()
	h.Recipient = k.Recipient()
	return nil
}

func (h *hostFolder) say(out io.Writer) {
	fmt.Fprintf(out, "made %s\n", strings.Join(h.Files, ", "))
	secret, add := "pullnode secret new "+secretsOf(h.Name), "git add hosts/"+h.Name
	if h.joins() {
		add = "git add -A"
	} else {
		secret += "   # after a rule for it in .sops.yaml"
	}
	install := "pullnode install " + h.Name + "   # on the installer image"
	if h.Recipient != "" {
		fmt.Fprintf(out, "host key %s; keep it until the machine is installed\n", h.HostKey)
		if !h.joins() {
			fmt.Fprintf(out, "recipient for .sops.yaml: %s\n", h.Recipient)
		}
		install = "pullnode install " + h.Name + " --host-key FILE   # on the installer image, with " + h.HostKey
	}
	fmt.Fprintf(out, "\nNext:\n  %s\n  %s && git commit -S && git push\n  %s\n", secret, add, install)
}

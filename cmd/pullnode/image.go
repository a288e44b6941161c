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
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/install"
)

// imageFormats are what pullnode image makes: of a machine, by the image builder of
// NixOS, or of the installer. The globs find the image in what Nix built.
var imageFormats = map[string]struct {
	variant   string // of system.build.images
	installer string // package of the flake
	globs     []string
	tools     []neededTool // that give it a host key
}{
	"iso":     {installer: "installer-iso", globs: []string{"iso/*.iso"}, tools: []neededTool{{"xorriso", "xorriso"}}},
	"kexec":   {installer: "installer-kexec", globs: []string{"*.tar.gz"}},
	"sd-card": {variant: "sd-card", globs: []string{"sd-image/*.img*", "*.img*"}, tools: []neededTool{{"debugfs", "e2fsprogs"}, {"zstd", "zstd"}}},
	"raw":     {variant: "raw-efi", globs: []string{"*.raw", "*.img"}, tools: []neededTool{{"debugfs", "e2fsprogs"}}},
}

type neededTool struct{ program, pkg string }

// diskImage is what pullnode image made.
type diskImage struct {
	cloneTree
	Host    string `json:"host"`
	Format  string `json:"format"`
	Commit  string `json:"commit"`
	Path    string `json:"path"`
	Size    int64  `json:"size"` // bytes
	SHA256  string `json:"sha256"`
	HostKey string `json:"hostKey,omitempty"` // of the image's sshd, as in *.pub
	URL     string `json:"url,omitempty"`
	Trusts  string `json:"introduction,omitempty"`

	keyFile, output string
	noKey           bool
	run             install.Run
	say             func(string, ...any)
}

func imageCommand() *command {
	var m diskImage
	var asJSON bool
	return &command{args: "HOST --format iso|sd-card|kexec|raw [--output FILE] [--host-key FILE | --no-host-key]", minArg: 1, maxArg: 1,
		short: "build an image: iso and kexec are the installer for HOST, sd-card and raw are HOST itself",
		flags: func(fs *flag.FlagSet) {
			m.flags(fs)
			fs.StringVar(&m.Format, "format", "iso", "iso, sd-card, kexec or raw")
			fs.StringVar(&m.output, "output", "", "where to write the image with the host key; default: its own name, here")
			fs.StringVar(&m.keyFile, "host-key", "", "the SSH host key of what boots from the image; default: a new one")
			fs.BoolVar(&m.noKey, "no-host-key", false, "leave the image in the store, without a host key: what boots makes its own, and nobody knows it before")
			jsonFlag(fs, &asJSON)
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			m.Host, m.run = args[0], runTool
			m.say = func(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }
			if err := m.make(ctx); err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, &m)
			}
			m.print(out)
			return nil
		}}
}

func (m *diskImage) make(ctx context.Context) error {
	if _, ok := imageFormats[m.Format]; !ok {
		return usageError("no such format: %q; there are iso, kexec, raw and sd-card", m.Format)
	}
	if !hostNameRE.MatchString(m.Host) {
		return usageError("%q is no host name", m.Host)
	}
	work, err := os.MkdirTemp("", "pullnode-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	host := m.Host
	if host == "installer" {
		host = "" // no deploy rule names it
	}
	tip, flake, err := m.checkout(ctx, host, work, "no image is made of")
	if err != nil {
		return err
	}
	m.Commit = tip
	m.say("verified %s", short(tip))
	attr, err := m.attribute(ctx, flake)
	if err != nil {
		return err
	}
	if m.noKey && m.keyFile != "" {
		return usageError("--host-key and --no-host-key: give one")
	}
	for _, tool := range imageFormats[m.Format].tools {
		if err := lookFor(tool.program, tool.pkg); err != nil && !m.noKey {
			return err
		}
	}
	m.say("building %s", attr)
	raw, err := m.run(ctx, install.Nix("build", "--no-link", "--json", "--print-build-logs", flake+"#"+attr)...)
	if err != nil {
		return fmt.Errorf("%s: %w", attr, err)
	}
	var built []struct{ Outputs map[string]string }
	if err := json.Unmarshal(raw, &built); err != nil || len(built) != 1 || built[0].Outputs["out"] == "" {
		return fmt.Errorf("nix build names no output for %s", attr)
	}
	if m.Path, err = findImage(built[0].Outputs["out"], imageFormats[m.Format].globs); err != nil {
		return err
	}
	if !m.noKey {
		if err := m.giveKey(ctx, work); err != nil {
			return err
		}
	}
	m.Size, m.SHA256, err = sizeAndSum(m.Path)
	return err
}

// attribute says what is built, and refuses what the flake does not have.
func (m *diskImage) attribute(ctx context.Context, flake string) (string, error) {
	f := imageFormats[m.Format]
	system := nixSystem()
	if m.Host != "installer" {
		raw, err := m.run(ctx, install.Nix("eval", "--json", flake+`#nixosConfigurations."`+m.Host+`".config`, "--apply",
			"c: { inherit (c.nixpkgs.hostPlatform) system; images = builtins.attrNames (c.system.build.images or { }); }")...)
		var has struct {
			System string
			Images []string
		}
		if err == nil {
			err = json.Unmarshal(raw, &has)
		}
		if err != nil {
			return "", fmt.Errorf("%s does not evaluate: %w", m.Host, err)
		}
		if system = has.System; f.variant != "" {
			if !slices.Contains(has.Images, f.variant) {
				return "", fmt.Errorf("%s has no image %s; it has %s", m.Host, f.variant, strings.Join(has.Images, ", "))
			}
			return `nixosConfigurations."` + m.Host + `".config.system.build.images."` + f.variant + `"`, nil
		}
	}
	if f.installer == "" {
		return "", fmt.Errorf("the installer has no %s image; it has iso and kexec", m.Format)
	}
	return "packages." + system + "." + f.installer, m.knowsRepository(ctx, flake, system)
}

// knowsRepository proves that the installer would trust what this clone trusts.
func (m *diskImage) knowsRepository(ctx context.Context, flake, system string) error {
	raw, err := m.run(ctx, install.Nix("eval", "--json", flake+`#nixosConfigurations."installer-`+system+`".config.services.pullnode-installer.settings`)...)
	var s struct{ URL, Introduction string }
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return fmt.Errorf("the installer for %s does not evaluate: %w", system, err)
	}
	m.URL, m.Trusts = s.URL, s.Introduction
	if s.Introduction != m.intro {
		return hint(errors.New("the installer would trust another introduction than this clone"), "write it into modules/repository.nix, commit signed: "+m.intro)
	}
	return nil
}

func (m *diskImage) print(w io.Writer) {
	fmt.Fprintf(w, "image    %s\nsize     %d bytes\nsha256   %s\ncommit   %s\n", m.Path, m.Size, m.SHA256, m.Commit)
	if m.URL != "" {
		fmt.Fprintf(w, "url      %s\ntrusts   %s\n", safe(m.URL), safe(m.Trusts))
	}
	if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.HostKey)); err == nil {
		fmt.Fprintf(w, "host key %s\n", ssh.FingerprintSHA256(k))
	} else {
		fmt.Fprintf(w, "host key made at the first boot; %s\n", ownKeyAt(m.Format))
	}
	switch m.Format {
	case "kexec":
		fmt.Fprintf(w, "\nUse it on a Linux that runs, as root there: tar -C / -xf %s && /kexec_nixos\n", filepath.Base(m.Path))
	default:
		how := "sudo dd if=" + m.Path
		if strings.HasSuffix(m.Path, ".zst") {
			how = "zstdcat " + m.Path + " | sudo dd"
		}
		fmt.Fprintf(w, "\nWrite it: %s of=/dev/sdX bs=4M conv=fsync status=progress\n", how)
	}
	if m.HostKey != "" {
		fmt.Fprintf(w, "Line for known_hosts: ADDRESS %s\nIt has a private key: delete it when it is used.\n", strings.TrimSpace(m.HostKey))
	}
}

// ownKeyAt says where one reads a host key that nobody knows before.
func ownKeyAt(format string) string {
	if imageFormats[format].installer != "" {
		return "the console shows it, screen and serial"
	}
	return "on the console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
}

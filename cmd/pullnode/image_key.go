package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/crypto/ssh"
)

// imageKey is where the installer finds its SSH host key, on its ISO (nix/iso.nix) or
// in its initrd (nix/kexec.nix).
const imageKey = "/pullnode/ssh_host_ed25519_key"

// giveKey copies the image and puts an SSH host key into the copy, so that whoever made
// the image knows what boots from it. That is done after Nix has built it: in the store
// everybody could read the key.
func (m *diskImage) giveKey(ctx context.Context, work string) (err error) {
	comment := m.Host
	if imageFormats[m.Format].installer != "" {
		comment = "pullnode-installer"
	}
	key, err := readHostKey(m.keyFile, comment)
	if err != nil {
		return err
	}
	if m.output == "" {
		m.output = strings.TrimSuffix(filepath.Base(m.Path), ".zst")
	}
	// The image has a private key: nobody else reads it, and none is overwritten.
	f, err := os.OpenFile(m.output, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return hint(fmt.Errorf("%s is there already", m.output), "--output FILE")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(m.output))
		}
	}()
	m.say("giving it an SSH host key")
	switch m.Format {
	case "iso":
		file := filepath.Join(work, "key")
		if err := os.WriteFile(file, key.private, 0o600); err != nil {
			return err
		}
		if _, err := m.run(ctx, "xorriso", "-indev", m.Path, "-outdev", m.output, "-boot_image", "any", "replay",
			"-map", file, imageKey, "-chmod", "0400", imageKey, "--"); err != nil {
			return fmt.Errorf("xorriso: %w", err)
		}
	case "kexec":
		if err := keyInKexec(m.Path, f, key.private); err != nil {
			return err
		}
	default:
		if err := copyImage(ctx, m.Path, f); err != nil {
			return err
		}
		image, err := filepath.Abs(m.output)
		if err != nil {
			return err
		}
		if err := keyOnDisk(ctx, image, work, key); err != nil {
			return hint(err, "--no-host-key makes the image without one: the machine makes its own at the first boot")
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	m.Path, m.HostKey = m.output, string(ssh.MarshalAuthorizedKey(key.public))
	return nil
}

// copyImage copies a disk image, which zstd may have compressed, with holes for zeros.
func copyImage(ctx context.Context, from string, to *os.File) error {
	argv := []string{"dd", "if=" + from, "bs=1M", "conv=sparse", "status=none"}
	if strings.HasSuffix(from, ".zst") {
		argv = []string{"zstd", "--decompress", "--stdout", "--quiet", "--", from}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var last lastLine
	cmd.Stdout, cmd.Stderr = to, &last
	if err := last.explain(cmd.Run()); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return nil
}

func findImage(out string, globs []string) (string, error) {
	if st, err := os.Stat(out); err == nil && st.Mode().IsRegular() {
		return out, nil
	}
	for _, g := range globs {
		if found, _ := filepath.Glob(filepath.Join(out, g)); len(found) == 1 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("nix built %s, and no image is where one should be", out)
}

func sizeAndSum(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, fmt.Sprintf("%x", h.Sum(nil)), err
}

func lookFor(program, pkg string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is not in PATH (package %s)", program, pkg)
	}
	return nil
}

// nixSystem is what Nix calls this machine.
func nixSystem() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + "-linux"
}

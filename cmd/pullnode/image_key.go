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

	"golang.org/x/crypto/ssh"
)

// imageKey is where the installer finds its SSH host key on its ISO; nix/iso.nix
// reads it.
const imageKey = "/pullnode/ssh_host_ed25519_key"

// giveKey puts an SSH host key on the ISO, so that whoever made the image knows the
// installer that boots from it. That is done after Nix has built the image: in the
// store everybody could read the key.
func (m *diskImage) giveKey(ctx context.Context, work string) error {
	pair, err := readHostKey(m.keyFile, "pullnode-installer")
	if err != nil {
		return err
	}
	key := filepath.Join(work, "key")
	if err := os.WriteFile(key, pair.private, 0o600); err != nil {
		return err
	}
	if m.output == "" {
		m.output = filepath.Base(m.Path)
	}
	// The image has a private key: nobody else reads it, and none is overwritten.
	f, err := os.OpenFile(m.output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return hint(fmt.Errorf("%s is there already", m.output), "--output FILE")
	}
	if err != nil {
		return err
	}
	f.Close()
	m.say("giving it an SSH host key")
	if _, err := m.run(ctx, "xorriso", "-indev", m.Path, "-outdev", m.output, "-boot_image", "any", "replay",
		"-map", key, imageKey, "-chmod", "0400", imageKey, "--"); err != nil {
		return errors.Join(fmt.Errorf("xorriso: %w", err), os.Remove(m.output))
	}
	m.Path, m.HostKey = m.output, string(ssh.MarshalAuthorizedKey(pair.public))
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

package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Releases are the Debian releases that Rootfs and Boot know.
var Releases = []string{"bookworm", "trixie"}

// packages of a machine, the same for both releases. nss-systemd makes dynamic
// users known by name, as on NixOS.
var packages = []string{
	"ca-certificates", "dbus", "git", "iproute2", "jq", "libnss-systemd", "nix-bin", "nix-setup-systemd",
	"openssh-client", "openssh-server", "procps", "strace", "systemd", "systemd-sysv", "util-linux",
}

// excluded is what no program of a machine reads.
var excluded = []string{"/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"}

const nixConf = `sandbox = false
build-users-group = nixbld
substituters =
experimental-features = nix-command flakes
`

// prepare turns Debian's /etc into one that a toplevel can own: units that
// Debian enables live in /etc/systemd/system, which becomes a link to the
// toplevel's; the daemon's socket is enabled where the distribution's units are.
const prepare = `set -eu
mkdir -p "$1/usr/lib/pullnode-lab" "$1/boot/loader/entries" "$1/usr/lib/systemd/system/sockets.target.wants"
rm -rf "$1/etc/systemd/system"
ln -sf ../nix-daemon.socket "$1/usr/lib/systemd/system/sockets.target.wants/nix-daemon.socket"
rm -f "$1/etc/machine-id" "$1/etc/resolv.conf"
`

// CacheDir is where root file systems are kept: PULLNODE_LAB_CACHE, else
// pullnode-lab in the user's cache directory, else /var/cache/pullnode-lab.
func CacheDir() string {
	if dir := os.Getenv("PULLNODE_LAB_CACHE"); dir != "" {
		return dir
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "pullnode-lab")
	}
	return "/var/cache/pullnode-lab"
}

// Rootfs gives the directory of a root file system of a Debian release, which
// it makes by mmdebstrap where the cache has none: a minute, and 300 MB. The
// caller must not write to it. Calls in other processes wait for each other.
func Rootfs(ctx context.Context, release string) (dir string, err error) {
	if !slices.Contains(Releases, release) {
		return "", fmt.Errorf("no such release: %q; there are %s", release, strings.Join(Releases, ", "))
	}
	dir = filepath.Join(CacheDir(), release+"-"+digest(release))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := need("mmdebstrap", "mmdebstrap"); err != nil {
		return "", err
	}
	tmp := dir + ".tmp" // what an interrupted call left is ours: we have the lock
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := bootstrap(ctx, release, tmp); err != nil {
		return "", errors.Join(fmt.Errorf("make a root file system of %s: %w", release, err), os.RemoveAll(tmp))
	}
	return dir, os.Rename(tmp, dir)
}

// digest changes with everything that the content depends on, but for Debian's
// own updates.
func digest(release string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", append([]string{release, nixConf, prepare}, slices.Concat(packages, excluded)...))
	return fmt.Sprintf("%x", h.Sum(nil))[:12]
}

func bootstrap(ctx context.Context, release, dir string) error {
	args := []string{"--quiet", "--variant=minbase", "--include=" + strings.Join(packages, ","),
		`--aptopt=Acquire::Languages "none"`}
	for _, e := range excluded {
		args = append(args, "--dpkgopt=path-exclude="+e)
	}
	args = append(args, release, dir)
	if m := mirror("/etc/apt"); m != "" {
		args = append(args, m)
	}
	if err := command(ctx, "mmdebstrap", args...); err != nil {
		return err
	}
	if err := command(ctx, "/bin/sh", "-c", prepare, "prepare", dir); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "etc/nix/nix.conf"), []byte(nixConf), 0o644)
}

// command runs a program to its end; its output is part of the error.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// need reports a missing program by the Debian package that has it.
func need(program, pkg string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is missing (Debian package %s)", program, pkg)
	}
	return nil
}

// lockFile waits for the lock on a file until ctx ends.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

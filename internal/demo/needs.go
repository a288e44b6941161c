package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// needs installs what is missing, on Debian as root; elsewhere it names it.
func needs(ctx context.Context) error {
	missing := map[string]bool{}
	for tool, pkg := range map[string]string{"git": "git", "nix": "nix-bin", "ssh-keygen": "openssh-client", "timeout": "coreutils"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing[pkg] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var list []string
	for p := range missing {
		list = append(list, p)
	}
	sort.Strings(list)
	_, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("these Debian packages are missing: %s; install them, or what your system calls them", strings.Join(list, " "))
	}
	say("installing with apt-get: %s", strings.Join(list, " "))
	for _, argv := range [][]string{{"apt-get", "update", "-qq"}, append([]string{"apt-get", "install", "-y", "-qq", "--no-install-recommends"}, list...)} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
		}
	}
	return nil
}

// machine describes what must not change: the system that runs here and what
// it boots.
func machine() (string, error) {
	var b strings.Builder
	for _, link := range []string{"/run/current-system", "/nix/var/nix/profiles/system"} {
		to, _ := os.Readlink(link)
		fmt.Fprintf(&b, "%s -> %s\n", link, to)
	}
	err := filepath.WalkDir("/boot", func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return nil // a part of /boot that this user may not read, it may not write either
		}
		info, err := e.Info()
		if err == nil {
			fmt.Fprintf(&b, "%s %d %s\n", p, info.Size(), info.ModTime())
		}
		return nil
	})
	if os.IsNotExist(err) {
		err = nil
	}
	return b.String(), err
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// sops runs the sops CLI on one file of the clone. The key that opens the file is
// whatever sops finds in its environment.
func (r *secretRepo) sops(name string, args ...string) error {
	program, err := exec.LookPath("sops")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(r.ctx, program, append(args, filepath.Join(r.top, name))...)
	cmd.Dir, cmd.Stdin = r.top, os.Stdin
	if said, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		return hint(fmt.Errorf("sops %s %s: %w\n%s", args[0], name, err, safe(strings.Join(lines[max(0, len(lines)-6):], " / "))),
			"sops needs a key that opens it, such as SOPS_AGE_KEY_FILE=…; then run the same command again, it goes on where it was")
	}
	return nil
}

// needSops says what to do by hand when sops is missing; nothing has been done.
func needSops(commands ...string) error {
	if _, err := exec.LookPath("sops"); err == nil || len(commands) == 0 {
		return nil
	}
	return hint(errors.New("sops is missing, and nothing was changed"), append([]string{"nix shell nixpkgs#sops; by hand, after the change of .sops.yaml:"}, commands...)...)
}

// update brings files to their rules.
func (r *secretRepo) update(files []string) error {
	for _, name := range files {
		if err := r.sops(name, "updatekeys", "-y"); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "updated  %s\n", name)
	}
	return nil
}

func updateCommands(files []string) (all []string) {
	for _, f := range files {
		all = append(all, "sops updatekeys -y "+f)
	}
	return all
}

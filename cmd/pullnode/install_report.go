package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// report writes what hardware this is, where the repository does not have it yet, and
// gives the file. What it cannot write it says; that is no reason not to install.
func (i *installer) report(ctx context.Context) string {
	kept := filepath.Join("hosts", i.Host, "facter.json")
	if _, err := os.Stat(filepath.Join(i.Tree, i.Dir, kept)); err == nil {
		return ""
	}
	if _, err := exec.LookPath("nixos-facter"); err != nil {
		i.Say("! no hardware report: nixos-facter is not in PATH")
		return ""
	}
	file := filepath.Join(os.TempDir(), i.Host+"-facter.json")
	if _, err := i.Run(ctx, "nixos-facter", "-o", file); err != nil {
		i.Say("! no hardware report: %v", err)
		return ""
	}
	i.Say("hardware report: %s; commit it as %s. The new system has it as /root/facter.json", file, kept)
	return file
}

// carryReport puts the report on the new root: /tmp of an installer is gone with the
// reboot.
func (i *installer) carryReport(file string) error {
	if file == "" {
		return nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	home := filepath.Join(i.Root, "root")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, "facter.json"), raw, 0o600)
}

// ask puts a question and waits for a line, or for ctx to end: then there is no
// answer, and the read is left behind.
func (i *installer) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(i.out, question)
	line := make(chan string, 1)
	go func() {
		s, _ := i.in.ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		return s, nil
	case <-ctx.Done():
		fmt.Fprintln(i.out)
		return "", fmt.Errorf("nothing was answered: %w", ctx.Err())
	}
}

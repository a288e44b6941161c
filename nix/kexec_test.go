package nix

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kexec_nixos finds the kernel and the initrd that lie beside it, wherever one is and
// whatever leads to it, and hands arguments to the installer's kernel.
func TestKexecScript(t *testing.T) {
	raw, err := os.ReadFile("kexec_nixos.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	write(t, filepath.Join(dir, "kexec_nixos"), strings.ReplaceAll(string(raw), "@cmdline@", "init=/nix/store/x/init console=tty0"))
	write(t, filepath.Join(dir, "kexec_nixos.d", "kexec"), "#!/bin/sh\nprintf '%s\\n' \"$@\" >> "+log+"\n")
	for _, f := range []string{"kexec_nixos", "kexec_nixos.d/kexec"} {
		if err := os.Chmod(filepath.Join(dir, f), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "boot")
	if err := os.Symlink(filepath.Join(dir, "kexec_nixos"), link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		line string
	}{{nil, "init=/nix/store/x/init console=tty0"}, {[]string{"pullnode.ip=192.0.2.10/24,192.0.2.1", "quiet"}, "init=/nix/store/x/init console=tty0 pullnode.ip=192.0.2.10/24,192.0.2.1 quiet"}} {
		os.Remove(log)
		cmd := exec.Command(link, c.args...)
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{"--kexec-syscall-auto", "--load", dir + "/kexec_nixos.d/kernel",
			"--initrd=" + dir + "/kexec_nixos.d/initrd", "--command-line", c.line, "-e", ""}, "\n")
		if string(got) != want {
			t.Errorf("kexec got\n%s\nwant\n%s", got, want)
		}
	}
}

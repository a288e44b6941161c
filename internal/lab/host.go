package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Bind makes a file or directory of this machine visible in a Host.
type Bind struct {
	From, To string
	Writable bool
}

// Options say which machine Boot makes.
type Options struct {
	Release string            // bookworm or trixie; bookworm when empty
	Name    string            // host name; "lab" when empty
	Binds   []Bind            // seen in the machine
	Files   map[string]string // path in the machine -> file here, copied with its mode
	Network bool              // a network of its own with this machine; else only loopback
}

// Host is one machine. Its methods may be used by one goroutine at a time, but
// for Run, Read and Write.
type Host struct {
	Name    string
	Release string
	Root    string // the machine's root directory, as seen from here
	Addr    string // the machine's address; empty without Network
	Gateway string // this machine's address in the same network

	// Syscalls are those that the next boot allows beside systemd-nspawn's own, such
	// as memfd_secret; KernelArgs are more words of the kernel's command line.
	Syscalls   []string
	KernelArgs []string

	dir    string // everything of this machine
	owned  func() // gives up the claim to dir
	binds  []Bind
	net    *network
	group  *cgroup
	proc   *nspawn
	closed bool
}

// Boot makes a machine from the cached root file system, installs the stand-in
// for switch-to-configuration and o.Files, and boots it. Until Install was
// called it has no toplevel and boots Debian's own systemd. It needs root and the
// Debian packages systemd-container, mmdebstrap and iproute2; the error names
// what is missing. The caller must Close it.
func Boot(ctx context.Context, o Options) (h *Host, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab must be run as root")
	}
	for _, n := range [][2]string{{"systemd-nspawn", "systemd-container"}, {"nsenter", "util-linux"}, {"ip", "iproute2"}} {
		if err := need(n[0], n[1]); err != nil {
			return nil, err
		}
	}
	if o.Release == "" {
		o.Release = Releases[0]
	}
	if o.Name == "" {
		o.Name = "lab"
	}
	base, err := Rootfs(ctx, o.Release)
	if err != nil {
		return nil, err
	}
	stc, err := GoBinary(ctx, "pullnode/internal/lab/stc")
	if err != nil {
		return nil, err
	}
	h = &Host{Name: o.Name, Release: o.Release, binds: o.Binds}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("boot %s on %s: %w", o.Name, o.Release, err), h.Close())
			h = nil
		}
	}()
	if h.dir, h.owned, err = claim(ctx); err != nil {
		return h, err
	}
	if h.Root, err = makeRoot(ctx, base, h.dir); err != nil {
		return h, err
	}
	if err := h.furnish(o.Files, stc); err != nil {
		return h, err
	}
	if o.Network {
		if h.net, err = newNetwork(ctx); err != nil {
			return h, err
		}
		if err := h.net.note(h.dir); err != nil {
			return h, err
		}
		h.Addr, h.Gateway = h.net.guest, h.net.host
	}
	if h.group, err = newCgroup(filepath.Base(h.dir)); err != nil {
		return h, err
	}
	return h, h.Start(ctx)
}

// furnish makes the copy of the root file system this machine's own.
func (h *Host) furnish(files map[string]string, stc string) error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	// Without an id systemd takes this for a first boot and applies presets.
	for path, text := range map[string]string{
		"/etc/hostname": h.Name + "\n", "/etc/machine-id": fmt.Sprintf("%x\n", id),
		"/etc/hosts": "127.0.0.1 localhost " + h.Name + "\n::1 localhost\n",
	} {
		if err := h.Write(path, []byte(text)); err != nil {
			return err
		}
	}
	if err := h.Copy(stc, "/usr/lib/pullnode-lab/stc"); err != nil {
		return err
	}
	for to, from := range files {
		if err := h.Copy(from, to); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the machine and removes everything of it. It may be called twice.
func (h *Host) Close() error {
	if h.closed {
		return nil
	}
	h.closed = true
	errs := []error{h.Kill9()}
	if h.net != nil {
		errs = append(errs, h.net.close())
	}
	if h.group != nil {
		errs = append(errs, h.group.close())
	}
	if h.dir != "" {
		errs = append(errs, removeRoot(h.dir))
		h.owned()
	}
	return errors.Join(errs...)
}

// Command is a program in the running machine, with the machine's own
// environment. The caller sets its streams and starts it.
func (h *Host) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	if h.proc == nil {
		return nil, fmt.Errorf("%s is not running", h.Name)
	}
	args := append([]string{"-t", fmt.Sprint(h.proc.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i",
		"PATH=/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8",
		"NIX_REMOTE=daemon"}, argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Dir = "/"
	cmd.WaitDelay = 2 * time.Second
	return cmd, nil
}

// Run runs a program in the machine to its end and gives its standard output.
// A program that fails is an *exec.ExitError somewhere in err, whose text has
// the program's standard error.
func (h *Host) Run(ctx context.Context, argv ...string) (stdout string, err error) {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w\n%s", h.Name, strings.Join(argv, " "), err, errs.String())
	}
	return out.String(), nil
}

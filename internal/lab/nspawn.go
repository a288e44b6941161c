package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nspawn is one run of a machine, from boot to its end.
type nspawn struct {
	cmd    *exec.Cmd
	leader int           // the machine's PID 1, as seen from here
	ended  chan struct{} // closed when systemd-nspawn has ended
}

// Start boots the machine that is off: it plays firmware and boot loader, and
// returns when systemd says that the start is over, well or degraded.
func (h *Host) Start(ctx context.Context) error {
	return h.start(ctx, h.ready)
}

// StartOnly boots the machine that is off and returns as soon as it takes commands,
// while its start goes on.
func (h *Host) StartOnly(ctx context.Context) error {
	return h.start(ctx, h.listens)
}

func (h *Host) start(ctx context.Context, until func(context.Context) error) error {
	if h.Running() {
		return fmt.Errorf("%s runs already", h.Name)
	}
	if err := h.Kill9(); err != nil { // what is left of a machine that went off by itself
		return err
	}
	init, err := h.pick()
	if err != nil {
		return err
	}
	args := []string{"--quiet", "--directory=" + h.Root, "--machine=" + filepath.Base(h.dir), "--register=no", "--keep-unit",
		"--kill-signal=SIGRTMIN+3", "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--capability=CAP_NET_ADMIN", "--hostname=" + h.Name}
	if h.net != nil {
		args = append(args, "--network-namespace-path=/run/netns/"+h.net.name)
	} else {
		args = append(args, "--private-network")
	}
	if len(h.Syscalls) > 0 {
		args = append(args, "--system-call-filter="+strings.Join(h.Syscalls, " "))
	}
	for _, b := range h.binds {
		option := "--bind-ro="
		if b.Writable {
			option = "--bind="
		}
		args = append(args, option+b.From+":"+b.To)
	}
	// systemd 257 starts on version 1 control groups only when told so; in a
	// container it reads its own arguments for the kernel's.
	args = append(append(append(args, init...), "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"), h.KernelArgs...)
	console, err := os.OpenFile(h.consolePath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer console.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", h.group.enter("systemd-nspawn"), "nspawn"}, args...)...)
	cmd.Stdout, cmd.Stderr = console, console
	// Its own session: an interrupt of the test is the test's business. And the
	// machine dies with a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if h.proc, err = launch(cmd); err != nil {
		return err
	}
	if err := until(ctx); err != nil {
		log, _ := os.ReadFile(h.consolePath())
		return errors.Join(fmt.Errorf("%s does not come up: %w\n%s", h.Name, err, tail(log, 4000)), h.Kill9())
	}
	return nil
}

// launch starts cmd on a thread that lives as long as cmd: the kernel takes the
// end of that thread for the death of the parent.
func launch(cmd *exec.Cmd) (*nspawn, error) {
	p := &nspawn{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (h *Host) consolePath() string { return filepath.Join(h.dir, "console") }

// Console gives everything that the machine wrote to its console in all boots.
func (h *Host) Console() string {
	raw, _ := os.ReadFile(h.consolePath())
	return string(raw)
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

var errEnded = errors.New("its PID 1 ended")

func (h *Host) ready(ctx context.Context) error {
	return h.poll(ctx, func() (bool, error) {
		out, _ := h.Run(ctx, "systemctl", "is-system-running", "--wait")
		switch strings.TrimSpace(out) {
		case "running", "degraded":
			return true, nil
		case "maintenance", "stopping":
			return false, fmt.Errorf("systemd says %s", strings.TrimSpace(out))
		}
		return false, nil
	})
}

func (h *Host) listens(ctx context.Context) error {
	return h.poll(ctx, func() (bool, error) {
		_, err := h.Run(ctx, "systemctl", "show", "--property=Version")
		return err == nil, nil
	})
}

// poll asks f again and again once the machine has a PID 1.
func (h *Host) poll(ctx context.Context, f func() (bool, error)) error {
	for {
		if h.proc.leader == 0 {
			h.proc.leader = leaderOf(h.proc.cmd.Process.Pid)
		}
		if h.proc.leader != 0 {
			if ok, err := f(); ok || err != nil {
				return err
			}
		}
		select {
		case <-h.proc.ended:
			return errEnded
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// leaderOf finds among a process's children the one that is PID 1 of a namespace
// of its own, 0 when there is none yet.
func leaderOf(parent int) int {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	for _, child := range strings.Fields(string(raw)) {
		status, _ := os.ReadFile("/proc/" + child + "/status")
		for line := range bytes.Lines(status) {
			f := strings.Fields(string(line))
			if len(f) > 2 && f[0] == "NSpid:" && f[len(f)-1] == "1" {
				pid, _ := strconv.Atoi(child)
				return pid
			}
		}
	}
	return 0
}

// Kill9 is power loss as programs see it: every process of the machine dies at
// once. What they wrote stays, synced or not. A machine that is off stays off.
func (h *Host) Kill9() error {
	if h.proc == nil {
		return nil
	}
	p := h.proc
	h.proc = nil
	if p.leader != 0 {
		// The kernel kills every process of the namespace with its PID 1.
		syscall.Kill(p.leader, syscall.SIGKILL)
	}
	p.cmd.Process.Kill()
	<-p.ended
	return h.group.kill()
}

// Halt shuts the machine down in order.
func (h *Host) Halt(ctx context.Context) error {
	if h.proc == nil {
		return nil
	}
	if err := h.proc.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-h.proc.ended:
		h.proc = nil
		return h.group.kill()
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("halt %s: %w", h.Name, ctx.Err()), h.Kill9())
	}
}

// Reboot shuts the machine down in order, if it runs, and boots it again.
func (h *Host) Reboot(ctx context.Context) error {
	if err := h.Halt(ctx); err != nil {
		return err
	}
	return h.Start(ctx)
}

// Wait returns when the machine has gone off by itself, also to reboot, which
// Start then does.
func (h *Host) Wait(ctx context.Context) error {
	if h.proc == nil {
		return nil
	}
	select {
	case <-h.proc.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until %s is off: %w", h.Name, ctx.Err())
	}
}

// Running reports whether the machine is on.
func (h *Host) Running() bool {
	if h.proc == nil {
		return false
	}
	select {
	case <-h.proc.ended:
		return false
	default:
		return true
	}
}

// Package plain is the machine seam for trying pullnode out: everything lives
// below one directory, and what systemd does elsewhere is done by plain
// processes in sessions of their own, so that they outlive the agent.
//
// It touches nothing of the machine that it runs on: the profile, the running
// system and the store are the directory's own. It isolates nothing either, so
// it is for the demo and for tests, never for an installed host.
package plain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/activate"
)

// System is a machine below one directory: run/current-system, profiles/system,
// and nix with a store of its own.
type System struct {
	Root string
	Self string   // the pullnode binary, which decides for the guard
	Env  []string // of every process; NIX_STORE_DIR and the like
	// SwitchTimeout ends a hanging switch.
	SwitchTimeout time.Duration
}

func (s *System) run() string     { return filepath.Join(s.Root, "run") }
func (s *System) profile() string { return filepath.Join(s.Root, "profiles", "system") }
func (s *System) file(kind, id string) string {
	return filepath.Join(s.run(), kind+"-"+id)
}

// Environ gives the environment of nix and of the systems that are switched to.
func (s *System) Environ() []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(s.Root, "home"),
		"XDG_CACHE_HOME=" + filepath.Join(s.Root, "cache"), "XDG_CONFIG_HOME=" + filepath.Join(s.Root, "config"),
		"PULLNODE_ROOT=" + s.Root, "LC_ALL=C"}, s.Env...)
}

// Facts reads the two links and the kernel's boot id and clock.
func (s *System) Facts(context.Context) (activate.Facts, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return activate.Facts{}, err
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return activate.Facts{}, err
	}
	f := activate.Facts{BootID: strings.TrimSpace(string(boot)), Now: time.Duration(ts.Nano())}
	f.Running, err = target(filepath.Join(s.run(), "current-system"))
	if err != nil {
		return f, err
	}
	f.Default, err = target(s.profile())
	return f, err
}

// target follows a link to a store path; none at all is no error.
func target(link string) (activate.StorePath, error) {
	p, err := filepath.EvalSymlinks(link)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return activate.StorePath(p), err
}

// StartTest runs the switch in a session of its own; its exit status goes to a
// file that appears whole.
func (s *System) StartTest(_ context.Context, id string, p activate.StorePath) error {
	return s.start(id, p, "")
}

// StartBack is StartTest without pre-switch checks.
func (s *System) StartBack(_ context.Context, id string, p activate.StorePath) error {
	return s.start(id, p, "NIXOS_NO_CHECK=1 ")
}

func (s *System) start(id string, p activate.StorePath, with string) error {
	if p == "" {
		return errors.New("there is no system to switch to")
	}
	if _, err := os.Stat(s.file("started", id)); err == nil {
		return nil
	}
	script := with + `timeout -k 5 "$3" "$0/bin/switch-to-configuration" test >"$1.log" 2>&1; echo $? >"$1.tmp"; mv "$1.tmp" "$1"`
	return s.detach("started", id, script, string(p), s.file("result", id), "-", strconv.Itoa(int(s.SwitchTimeout/time.Second)))
}

// detach starts a shell script outside of this process's session and keeps its
// process group in a file.
func (s *System) detach(kind, id, script string, args ...string) error {
	cmd := exec.Command("/bin/sh", append([]string{"-c", script}, args...)...)
	cmd.Env = s.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	return os.WriteFile(s.file(kind, id), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

// group gives the process group of a detached script, 0 when it is gone.
func (s *System) group(kind, id string) int {
	raw, err := os.ReadFile(s.file(kind, id))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(raw))
	if err != nil || pid < 2 || syscall.Kill(-pid, 0) != nil {
		return 0
	}
	return pid
}

// Result reads what the switch left.
func (s *System) Result(_ context.Context, id string) (activate.Result, error) {
	for range 2 { // it may end between the two looks
		raw, err := os.ReadFile(s.file("result", id))
		if err == nil {
			n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if n == 124 || n == 137 {
				return activate.Result{Done: true, Signal: "timeout"}, err
			}
			return activate.Result{Done: true, Exit: n}, err
		}
		if s.group("started", id) != 0 {
			return activate.Result{}, nil
		}
	}
	return activate.Result{Lost: true}, nil
}

// StopTest kills the switch's process group and waits for its end.
func (s *System) StopTest(ctx context.Context, id string) error { return s.stop(ctx, "started", id) }

func (s *System) stop(ctx context.Context, kind, id string) error {
	for {
		pid := s.group(kind, id)
		if pid == 0 {
			return nil
		}
		syscall.Kill(-pid, syscall.SIGKILL)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Arm starts a sleeping shell that decides for the old system when nobody else
// has decided before.
func (s *System) Arm(_ context.Context, g activate.Guard) error {
	if s.group("guard", g.ID) != 0 {
		return nil
	}
	const script = `sleep "$0"; if "$1" decide --dir "$2" "$3" revert >/dev/null; then "$4/bin/switch-to-configuration" test; fi`
	return s.detach("guard", g.ID, script, strconv.Itoa(int(g.After/time.Second)), s.Self, s.run(), g.ID, string(g.Old))
}

// Disarm ends the guard.
func (s *System) Disarm(ctx context.Context, id string) error { return s.stop(ctx, "guard", id) }

// SetProfile makes a new generation with nix-env, as on an installed host.
func (s *System) SetProfile(ctx context.Context, p activate.StorePath) (int, error) {
	if err := os.MkdirAll(filepath.Dir(s.profile()), 0o755); err != nil {
		return 0, err
	}
	if out, err := s.command(ctx, "nix-env", "-p", s.profile(), "--set", string(p)); err != nil {
		return 0, fmt.Errorf("nix-env --set: %w: %s", err, out)
	}
	link, err := os.Readlink(s.profile())
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(link, "system-"), "-link"))
	return n, err
}

// Boot runs the candidate's boot loader step.
func (s *System) Boot(ctx context.Context, _ string, p activate.StorePath) error {
	return s.boot(ctx, p)
}

// BootBack is Boot without pre-switch checks.
func (s *System) BootBack(ctx context.Context, _ string, p activate.StorePath) error {
	return s.boot(ctx, p, "env", "NIXOS_NO_CHECK=1")
}

func (s *System) boot(ctx context.Context, p activate.StorePath, with ...string) error {
	if out, err := s.command(ctx, append(with, string(p)+"/bin/switch-to-configuration", "boot")...); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Decide decides in the directory's own run.
func (s *System) Decide(id string, d activate.Decision) (activate.Decision, error) {
	return activate.Decide(s.run(), id, d)
}

func (s *System) command(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = s.Environ()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Store gives the nix store of this directory.
func (s *System) Store() activate.Store { return activate.Store{Env: s.Environ()} }

// Run runs a job as a plain child with its own process group.
func (s *System) Run(ctx context.Context, j activate.Job) (activate.JobResult, error) {
	if j.User != "" || len(j.Credentials) > 0 {
		return activate.JobResult{}, fmt.Errorf("job %s: there are no other users and no credentials in one process", j.Name)
	}
	if j.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, j.Timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, j.Argv[0], j.Argv[1:]...)
	cmd.Env = s.Environ()
	cmd.Dir = s.Root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := activate.JobResult{Out: capped(out.Bytes(), 64<<10), Err: tail(errs.Bytes(), 1<<20)}
	var exit *exec.ExitError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.Reason = "timeout"
	case ctx.Err() != nil:
		return r, ctx.Err()
	case errors.As(err, &exit) && !exit.Exited():
		r.Reason = "signal"
	case errors.As(err, &exit):
		r.Exit = exit.ExitCode()
	case err != nil:
		return r, err
	}
	return r, nil
}

func capped(b []byte, n int) []byte { return b[:min(len(b), n)] }
func tail(b []byte, n int) []byte   { return b[max(0, len(b)-n):] }

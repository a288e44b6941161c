package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// boot makes a machine for a test that runs only where PULLNODE_LAB=1 asks for
// machines; there, what is missing is an error.
func boot(t *testing.T, o Options) (context.Context, *Host) {
	t.Helper()
	needLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 35*time.Minute)
	t.Cleanup(cancel)
	h, err := Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", tail([]byte(h.Console()), 6000))
		}
		if err := h.Close(); err != nil {
			t.Error("close:", err)
		}
	})
	return ctx, h
}

func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("PULLNODE_LAB") != "1" {
		t.Skip("boots machines: PULLNODE_LAB=1")
	}
}

// each runs a test on every release at once.
func each(t *testing.T, f func(t *testing.T, release string)) {
	for _, r := range Releases {
		t.Run(r, func(t *testing.T) {
			t.Parallel()
			f(t, r)
		})
	}
}

func run(ctx context.Context, t *testing.T, h *Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// status gives a program's exit status in the machine.
func status(ctx context.Context, t *testing.T, h *Host, argv ...string) int {
	t.Helper()
	_, err := h.Run(ctx, argv...)
	if err == nil {
		return 0
	}
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || !exit.Exited() {
		t.Fatal(err)
	}
	t.Log(strings.TrimSpace(err.Error()))
	return exit.ExitCode()
}

// do switches to a toplevel in a transient unit, as pullnode does it, and gives
// the exit status of switch-to-configuration.
func do(ctx context.Context, t *testing.T, h *Host, toplevel, verb string, properties ...string) int {
	t.Helper()
	argv := []string{"systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec"}
	for _, p := range properties {
		argv = append(argv, "--property="+p)
	}
	return status(ctx, t, h, append(argv, toplevel+"/bin/switch-to-configuration", verb)...)
}

func build(ctx context.Context, t *testing.T, h *Host, c Config) string {
	t.Helper()
	top, err := h.Build(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// installed boots a machine into the system c.
func installed(t *testing.T, o Options, c Config) (ctx context.Context, h *Host, toplevel string) {
	t.Helper()
	ctx, h = boot(t, o)
	toplevel = build(ctx, t, h, c)
	if err := h.Install(ctx, toplevel); err != nil {
		t.Fatal(err)
	}
	if err := h.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	is(ctx, t, h, toplevel)
	return ctx, h, toplevel
}

func is(ctx context.Context, t *testing.T, h *Host, toplevel string) {
	t.Helper()
	got, err := h.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got != toplevel {
		t.Fatalf("the machine runs %s, want %s", got, toplevel)
	}
}

func property(ctx context.Context, t *testing.T, h *Host, unit, name string) string {
	t.Helper()
	return run(ctx, t, h, "systemctl", "show", "--value", "--property="+name, unit)
}

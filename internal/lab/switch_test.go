package lab

import (
	"strings"
	"testing"
)

// A machine boots into the toplevel that was installed, tries another one, and
// boots the first again after a power cut.
func TestMachine(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, h, a := installed(t, Options{Release: release}, Config{Gen: "A"})
		if got := run(ctx, t, h, "readlink", "-f", "/run/booted-system"); got != a {
			t.Errorf("booted %s, want %s", got, a)
		}
		if got := run(ctx, t, h, "systemctl", "list-units", "--failed", "--plain", "--no-legend"); got != "" {
			t.Errorf("failed units after the boot: %s", got)
		}
		if got := run(ctx, t, h, "sh", "-c", "nix store ping 2>&1"); !strings.Contains(got, "daemon") {
			t.Errorf("nix does not use the daemon: %s", got)
		}
		b := build(ctx, t, h, Config{Gen: "B"})
		if got := build(ctx, t, h, Config{Gen: "B"}); got != b {
			t.Errorf("the same system is %s and %s", b, got)
		}
		before := property(ctx, t, h, "app.service", "MainPID")
		if got := do(ctx, t, h, b, "test"); got != 0 {
			t.Fatalf("test of B: %d", got)
		}
		is(ctx, t, h, b)
		if got := property(ctx, t, h, "app.service", "Environment"); got != "GEN=B" {
			t.Errorf("app runs with %s", got)
		}
		if got := property(ctx, t, h, "app.service", "MainPID"); got == before || got == "0" {
			t.Errorf("app has process %s, before the switch %s", got, before)
		}
		if got, err := h.BootDefault(); err != nil || got != a {
			t.Errorf("test changed the boot default to %s, %v", got, err)
		}
		if err := h.Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(ctx); err != nil {
			t.Fatal(err)
		}
		is(ctx, t, h, a)
		// The old system's "boot" gives the new one an entry and stays the default:
		// what trying a system by a reboot needs.
		run(ctx, t, h, "nix-env", "-p", "/nix/var/nix/profiles/system", "--set", b)
		if got := do(ctx, t, h, a, "boot"); got != 0 {
			t.Fatalf("boot of A: %d", got)
		}
		if got, err := h.BootDefault(); err != nil || got != a {
			t.Errorf("the default after boot of A: %s, %v", got, err)
		}
		if raw, err := h.Read("/boot/loader/entries/nixos-generation-2.conf"); err != nil || !strings.Contains(string(raw), "init="+b+"/init ") {
			t.Errorf("the entry of B: %q, %v", raw, err)
		}
		if got := do(ctx, t, h, b, "switch"); got != 0 {
			t.Fatalf("switch to B: %d", got)
		}
		is(ctx, t, h, b)
		if got, err := h.BootDefault(); err != nil || got != b {
			t.Errorf("the default after switch to B: %s, %v", got, err)
		}
		if err := h.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		is(ctx, t, h, b)
		if err := h.OneShot("nixos-generation-1"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{a, b} {
			if err := h.Reboot(ctx); err != nil {
				t.Fatal(err)
			}
			is(ctx, t, h, want)
		}
	})
}

// Every exit status of the contract, on a machine that stays up meanwhile.
func TestExitStatuses(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, h, a := installed(t, Options{Release: release}, Config{Gen: "A"})
		mode := func(m string) string { return build(ctx, t, h, Config{Gen: "B-" + m, Mode: m}) }
		for _, c := range []struct {
			mode, verb string
			want       int
			runs       bool // the new system is /run/current-system afterwards
		}{
			{"good", "check", 0, false},
			{"good", "dry-activate", 0, false},
			{"good", "no-such-verb", 1, false},
			{"badcheck", "test", 1, false},
			{"badcheck", "check", 1, false},
			{"badloader", "boot", 1, false},
			{"badloader", "switch", 1, false},
			{"badloader", "test", 0, true},
			{"initchange", "test", 100, false},
			{"badactivate", "test", 2, true},
			{"badunit", "test", 4, true},
			{"sysconf", "test", 0, true},
		} {
			top := mode(c.mode)
			if got := do(ctx, t, h, top, c.verb); got != c.want {
				t.Errorf("%s of %s: %d, want %d", c.verb, c.mode, got, c.want)
			}
			want := a
			if c.runs {
				want = top
			}
			is(ctx, t, h, want)
			if got := do(ctx, t, h, a, "test"); got != 0 {
				t.Fatalf("back to A after %s: %d", c.mode, got)
			}
			is(ctx, t, h, a)
			if got := property(ctx, t, h, "app.service", "ActiveState"); got != "active" {
				t.Errorf("after %s and back app is %s", c.mode, got)
			}
		}
		// A change of system.conf re-executes PID 1, which answers nobody meanwhile.
		if got := run(ctx, t, h, "sh", "-c", "journalctl --boot --quiet _PID=1 | grep -ci reexecut || true"); got == "0" {
			t.Error("PID 1 was never re-executed")
		}
		lock := "exec 9>>/run/nixos/switch-to-configuration.lock; flock -n 9 && exec "
		if got := status(ctx, t, h, "sh", "-c", lock+a+"/bin/switch-to-configuration test"); got != 11 {
			t.Errorf("with the lock taken: %d, want 11", got)
		}
		if got := status(ctx, t, h, "setpriv", "--reuid=65534", "--clear-groups", a+"/bin/switch-to-configuration", "test"); got != 1 {
			t.Errorf("without root: %d, want 1", got)
		}
	})
}

// A switch that hangs is ended only from outside; the old system's switch then
// makes everything good.
func TestHangingSwitch(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		ctx, h, a := installed(t, Options{Release: release}, Config{Gen: "A"})
		b := build(ctx, t, h, Config{Gen: "B", Mode: "hangunit"})
		run(ctx, t, h, "systemd-run", "--quiet", "--unit=switch", "--property=RuntimeMaxSec=5", "--service-type=exec", b+"/bin/switch-to-configuration", "test")
		run(ctx, t, h, "sh", "-c", "until [ $(systemctl show --value -p ActiveState switch) = failed ]; do sleep 0.2; done")
		if got := property(ctx, t, h, "switch", "Result"); got != "timeout" {
			t.Errorf("the switch ended with %s, want timeout", got)
		}
		if got := property(ctx, t, h, "hang.service", "ActiveState"); got != "activating" {
			t.Errorf("hang.service is %s", got)
		}
		if _, err := h.Read("/run/nixos/start-list"); err != nil {
			t.Error("the list of an interrupted run:", err)
		}
		if got := do(ctx, t, h, a, "test"); got != 0 {
			t.Fatalf("back to A: %d", got)
		}
		is(ctx, t, h, a)
		if got := property(ctx, t, h, "hang.service", "ActiveState"); got != "inactive" {
			t.Errorf("hang.service is %s", got)
		}
		if got := property(ctx, t, h, "app.service", "Environment"); got != "GEN=A" {
			t.Errorf("app runs with %s", got)
		}
		if _, err := h.Read("/run/nixos/start-list"); err == nil {
			t.Error("the list is still there")
		}
	})
}

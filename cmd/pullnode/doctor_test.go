package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/activate/health"
	"pullnode/internal/config"
	"pullnode/internal/state"
)

// aliveUnits are units by name; any other is not installed.
type aliveUnits map[string]health.UnitState

func (u aliveUnits) Unit(_ context.Context, name string) (health.UnitState, error) {
	if s, ok := u[name]; ok {
		return s, nil
	}
	return health.UnitState{Load: "not-found", Active: "inactive"}, nil
}
func (aliveUnits) Failed(context.Context) ([]string, error) { return nil, nil }

// doctorAt is the doctor of an installed host whose places are those of h, on a
// machine where nothing is wrong.
func doctorAt(h *host) *doctor {
	d := inOnePlace(h.root)
	d.path, d.root = h.conf, ""
	d.boots = []string{filepath.Join(h.root, "bootdir")}
	up := health.UnitState{Load: "loaded", Active: "active", Sub: "running"}
	d.units = aliveUnits{"pullnode.service": up, "pullnode-sync.service": up, "pullnode-keys.socket": up}
	d.synchronised = func() (bool, error) { return true, nil }
	d.statfs = func(string) (unix.Statfs_t, error) {
		return unix.Statfs_t{Bsize: 4096, Bavail: 8192 * mib / 4096, Files: 1e6, Ffree: 9e5}, nil
	}
	d.nixEnv = append(d.nixEnv, "NIX_CONFIG=sandbox = true")
	return d
}

// Every part can be wrong, and then its line says so and what to do.
func TestDoctorFindsEachFault(t *testing.T) {
	h := newHost(t, map[string]any{"keys": map[string]any{"sources": []any{map[string]any{"type": "file", "path": filepath.Join(t.TempDir(), "host.age")}}}})
	c, err := config.Load(h.conf)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSuffix(strings.SplitAfter(string(c.Keys.Sources[0]), `.age`)[0], `"`)
	key = key[strings.Index(key, "/"):]
	write(t, key, newIdentity(t).String()+"\n")
	mustDo(t, os.MkdirAll(filepath.Join(h.root, "bootdir", "loader"), 0o755))
	h.want(h.cycle(), "in-sync", "healthy", "one")
	daemon := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", daemon)
	mustDo(t, err)
	defer l.Close()

	cases := []struct {
		name, part string
		level      level
		say        string
		hurt       func(d *doctor) (heal func())
	}{
		{"nothing", "", levelOK, "", func(*doctor) func() { return nil }},
		{"settings gone", "config", levelFail, "no such file", func(d *doctor) func() { d.path = "/nonexistent"; return nil }},
		{"settings wrong", "config", levelFail, `did you mean "url"`, func(d *doctor) func() {
			d.path = filepath.Join("testdata", "check-config", "misspelt.json")
			return nil
		}},
		{"state gone", "state", levelWarn, "has never run", func(d *doctor) func() { d.state.Dir = filepath.Join(h.root, "none"); return nil }},
		{"state open to others", "state", levelFail, "open to others", func(*doctor) func() {
			mustDo(t, os.Chmod(filepath.Join(h.root, "state"), 0o755))
			return func() { os.Chmod(filepath.Join(h.root, "state"), 0o700) }
		}},
		{"no agent", "state", levelWarn, "no agent runs", func(*doctor) func() { h.a.Store.Close(); return h.restart }},
		{"state damaged", "state", levelWarn, "state.json is damaged", swap(t, h, "state/state.json", "{")},
		{"state lost", "state", levelFail, "no state file can be read", func(*doctor) func() {
			heal := []func(){swap(t, h, "state/state.json", "{")(nil), swap(t, h, "state/state.json.prev", "{")(nil), swap(t, h, "floor/floor.json", "{")(nil)}
			return func() { heal[0](); heal[1](); heal[2]() }
		}},
		{"state newer", "state", levelFail, "written by a newer pullnode", func(d *doctor) func() {
			later := state.Later(state.Config{Dir: filepath.Join(t.TempDir(), "s"), FloorPath: filepath.Join(t.TempDir(), "floor.json")})
			s, err := state.Open(later)
			mustDo(t, err)
			mustDo(t, s.Update(func(s *state.State) error { s.Request = 1; return nil }))
			s.Close()
			d.state.Dir = later.Dir
			return nil
		}},
		{"a try under way", "state", levelOK, "under way: checking", func(*doctor) func() {
			set := func(a *state.Attempt) {
				mustDo(t, h.a.Store.Update(func(s *state.State) error { s.Attempt = a; return nil }))
			}
			set(&state.Attempt{ID: "x", Phase: "checking"})
			return func() { set(nil) }
		}},
		{"floor gone", "floor", levelWarn, "is not there", func(d *doctor) func() { d.state.FloorPath = filepath.Join(h.root, "none"); return nil }},
		{"floor damaged", "floor", levelWarn, "cannot be read", swap(t, h, "floor/floor.json", "{")},
		{"no system", "system", levelWarn, "none to go back to", func(d *doctor) func() { d.current = "/nonexistent"; return nil }},
		{"another system boots", "system", levelWarn, "boots", func(d *doctor) func() { d.profile = "/usr"; return nil }},
		{"remote down", "remote", levelFail, "503", func(*doctor) func() { h.down = true; return func() { h.down = false } }},
		{"no such branch", "remote", levelFail, "no branch gone", settings(t, h, func(all map[string]any) { all["branch"] = "gone" })},
		{"credential gone", "remote", levelFail, "no such file", settings(t, h, func(all map[string]any) { all["auth"] = map[string]any{"tokenFile": "/nonexistent/token"} })},
		{"key gone", "key", levelFail, "no key: file:", func(*doctor) func() {
			mustDo(t, os.Rename(key, key+".away"))
			return func() { os.Rename(key+".away", key) }
		}},
		{"no checks", "health", levelWarn, "there are no checks", withChecks(t, h, nil)},
		{"check fails", "health", levelWarn, "page:", withChecks(t, h, map[string]any{"page": map[string]any{"type": "command", "argv": []string{"false"}}})},
		{"check cannot be asked", "health", levelFail, "web: ", func(d *doctor) func() {
			d.seams.Systemd = noSystemd{}
			return withChecks(t, h, map[string]any{"web": map[string]any{"type": "unit", "unit": "web"}})(d)
		}},
		{"check of no kind here", "health", levelFail, "health.checks.web", withChecks(t, h, map[string]any{"web": map[string]any{"type": "unit", "unit": "web"}})},
		{"command gone", "health", levelWarn, "/nonexistent", func(d *doctor) func() {
			d.seams.Commander = lookedUp{}
			return withChecks(t, h, map[string]any{"page": map[string]any{"type": "command", "argv": []string{"/nonexistent"}}})(d)
		}},
		{"user gone", "health", levelWarn, "unknown user", func(d *doctor) func() {
			d.seams.Commander = lookedUp{}
			return withChecks(t, h, map[string]any{"page": map[string]any{"type": "command", "argv": []string{"true"}, "user": "no-such-user"}})(d)
		}},
		{"nix gone", "nix", levelFail, "does not run", func(*doctor) func() { t.Setenv("PATH", t.TempDir()); return func() { os.Setenv("PATH", pathBefore) } }},
		{"nix too old", "nix", levelFail, "2.3 is too old", func(*doctor) func() { return fakeNix(t, "echo 'nix (Nix) 2.3.16'") }},
		{"nix without flakes", "nix", levelFail, "does not evaluate: unrecognised flag", func(*doctor) func() {
			return fakeNix(t, `case "$*" in *version) echo "nix (Nix) 2.18.1" ;; *) echo "error: unrecognised flag" >&2; exit 1 ;; esac`)
		}},
		{"nix takes flake settings", "nix", levelFail, "accept-flake-config is on", nixConf("accept-flake-config = true")},
		{"nix without signatures", "nix", levelFail, "require-sigs is off", nixConf("require-sigs = false")},
		{"nix without a sandbox", "nix", levelWarn, "the sandbox is off", nixConf("sandbox = false")},
		{"nix trusts all", "nix", levelFail, "trusted-users has *", nixConf("trusted-users = root *")},
		{"no daemon", "nix", levelFail, "the daemon does not answer", func(d *doctor) func() { d.daemon = "/nonexistent"; return nil }},
		{"no unit", "units", levelFail, "pullnode-sync.service is not installed", func(d *doctor) func() { delete(d.units.(aliveUnits), "pullnode-sync.service"); return nil }},
		{"keys socket down", "units", levelFail, "pullnode-keys.socket is failed", func(d *doctor) func() {
			d.units.(aliveUnits)["pullnode-keys.socket"] = health.UnitState{Load: "loaded", Active: "failed"}
			return nil
		}},
		{"systemd silent", "units", levelFail, "systemd does not run here", func(d *doctor) func() { d.units = noSystemd{}; return nil }},
		{"clock not set", "clock", levelFail, "1970", func(d *doctor) func() { d.now = func() time.Time { return time.Unix(99, 0) }; return nil }},
		{"clock free-running", "clock", levelWarn, "not synchronised", func(d *doctor) func() { d.synchronised = func() (bool, error) { return false, nil }; return nil }},
		{"clock unknown", "clock", levelSkip, "cannot be told", func(d *doctor) func() {
			d.synchronised = func() (bool, error) { return false, errors.New("no") }
			return nil
		}},
		{"disk full", "disk", levelFail, "a deployment would fail", free(unix.Statfs_t{Bsize: 4096, Bavail: 10})},
		{"disk nearly full", "disk", levelWarn, "/nix has 2048 MiB free", free(unix.Statfs_t{Bsize: 4096, Bavail: 2048 * mib / 4096})},
		{"no inodes", "disk", levelFail, "room for 3 more files", free(unix.Statfs_t{Bsize: 4096, Bavail: 8192 * mib / 4096, Files: 100, Ffree: 3})},
		{"boot read-only", "loader", levelFail, "read-only", free(unix.Statfs_t{Bsize: 4096, Bavail: 8192 * mib / 4096, Flags: unix.ST_RDONLY})},
	}
	for _, c := range cases {
		d := doctorAt(h)
		d.daemon = daemon
		heal := c.hurt(d)
		d.look(t.Context())
		if heal != nil {
			heal()
		}
		found := false
		for _, f := range d.findings {
			if f.Part == c.part && f.Level == c.level && strings.Contains(f.Text, c.say) {
				found = f.Level == levelOK || f.Level == levelSkip || f.Next != ""
			}
			if c.part == "" && f.Level != levelOK {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if c.part != "" && !found {
			var b bytes.Buffer
			d.print(&b, false)
			t.Errorf("%s: want %s %s %q with what to do; got\n%s", c.name, c.part, c.level, c.say, b.String())
		}
		if err := d.print(&bytes.Buffer{}, true); (c.level == levelFail) != (err != nil) {
			t.Errorf("%s: exit %v", c.name, err)
		}
	}
}

package nix

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pullnode/nix/units"
)

// exposure is the most that `systemd-analyze security` may find, in tenths.
var exposure = map[string]int{
	"pullnode":         20,
	"pullnode-sync":    20,
	"pullnode-dirs":    30,
	"pullnode-keys":    30,
	"pullnode-handoff": 90, // must not have a mount namespace; see the unit
	"pullnode-hold":    70, // likewise

	"pullnode-keyfetch@": 20,
	"pullnode-keyserver": 25,
}

// render writes the units as a machine of this configuration has them: the files
// of nix/units and, as NixOS does, what the module adds as drop-ins.
func render(t *testing.T, dir string, c outcome) []string {
	t.Helper()
	names, err := fs.Glob(units.Files, "*")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range names {
		raw, err := units.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, name))
		write(t, files[len(files)-1], strings.ReplaceAll(string(raw), "=pullnode ", "=/bin/true "))
	}
	for kind, services := range map[string]map[string]service{".service": c.Services, ".socket": c.Sockets} {
		for name, s := range services {
			if name == "nix-daemon" {
				continue // NixOS' own
			}
			if !slices.Contains(names, name+kind) {
				t.Errorf("the module sets %s, which nix/units does not have", name+kind)
				continue
			}
			text := section("Unit", s.UnitConfig) + section("Service", s.ServiceConfig)
			if kind == ".socket" {
				text = section("Unit", s.UnitConfig)
			}
			if len(s.WantedBy) > 0 {
				text += "[Install]\nWantedBy=" + strings.Join(s.WantedBy, " ") + "\n"
			}
			write(t, filepath.Join(dir, name+kind+".d", "overrides.conf"), text)
		}
	}
	return files
}

func section(name string, keys map[string]any) string {
	text := "[" + name + "]\n"
	for k, v := range keys {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, x := range list {
			text += fmt.Sprintf("%s=%v\n", k, x)
		}
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The rendered units of each kind of host are understood by systemd and as
// closed as the files of nix/units.
func TestRenderedUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("no systemd-analyze: install the Debian package systemd")
	}
	m := evalModule(t)
	for _, name := range []string{"minimal", "full"} {
		dir := t.TempDir()
		files := render(t, dir, m.Cases[name])
		out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: systemd-analyze verify: %v", name, err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, dir) || strings.Contains(line, "pullnode") {
				t.Errorf("%s: %s", name, line)
			}
		}
		for _, f := range files {
			unit, isService := strings.CutSuffix(filepath.Base(f), ".service")
			if !isService {
				continue
			}
			limit, known := exposure[unit]
			if !known {
				t.Errorf("%s has no threshold in this test", unit)
				continue
			}
			out, err := exec.Command(analyze, "security", "--offline=yes", fmt.Sprintf("--threshold=%d", limit), f).CombinedOutput()
			if err != nil {
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				t.Errorf("%s: %s is more exposed than %d.%d: %s", name, unit, limit/10, limit%10, lines[len(lines)-1])
			}
		}
	}
}

// What a host gets beside the unit files.
func TestDropIns(t *testing.T) {
	m := evalModule(t)
	minimal, full := m.Cases["minimal"], m.Cases["full"]
	for _, unit := range []string{"pullnode", "pullnode-sync"} {
		if s := minimal.Services[unit]; !slices.Equal(s.WantedBy, []string{"multi-user.target"}) || len(s.RestartTriggers) != 1 {
			t.Errorf("%s: %+v", unit, s)
		}
	}
	if s := minimal.Sockets["pullnode-keys"]; !slices.Equal(s.WantedBy, []string{"sockets.target"}) {
		t.Errorf("pullnode-keys.socket: %+v", s)
	}
	got := fmt.Sprint(full.Services["pullnode-sync"].ServiceConfig["LoadCredential"])
	if want := "[origin.token:/var/lib/token remote2.key:/var/lib/deploy-key]"; got != want {
		t.Errorf("credentials of the remotes: %s, want %s", got, want)
	}
	for _, unit := range []string{"pullnode-keys", "pullnode-handoff"} {
		if got := fmt.Sprint(full.Services[unit].ServiceConfig["LoadCredentialEncrypted"]); got != "[host.age:/var/lib/host.age.cred]" {
			t.Errorf("%s: credentials %s", unit, got)
		}
	}
	for _, unit := range []string{"pullnode", "pullnode-keys", "pullnode-handoff"} {
		if c := full.Services[unit].ServiceConfig["LoadCredential"]; c != nil {
			t.Errorf("%s gets the credentials of the remotes: %v", unit, c)
		}
	}
	if d := minimal.Services["nix-daemon"].ServiceConfig; d["OOMPolicy"] != "continue" || d["MemoryMax"] != "80%" {
		t.Errorf("nix-daemon: %v", d)
	}
	if !slices.Contains(minimal.NixSettings["extra-allowed-users"], "pullnode-eval") {
		t.Errorf("nix.settings: %v", minimal.NixSettings)
	}
	for _, tool := range []string{"pullnode", "age", "sops", "nh", "git", "curl"} {
		if !slices.Contains(minimal.Packages, tool) {
			t.Errorf("%s is not installed", tool)
		}
	}
	if slices.Contains(minimal.Packages, "deploy-rs") || !slices.Contains(full.Packages, "deploy-rs") {
		t.Error("deploy-rs is installed where it was not asked for, or the other way round")
	}
}

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

	"pullnode-await-key": 20,
	"pullnode-keyfetch@": 20,
	"pullnode-keyserver": 25,
}

// exposureOf is the same for hosts whose key sources need more.
var exposureOf = map[string]int{
	"keysUSB pullnode-keys": 35, // it mounts
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
	for kind, overrides := range map[string]map[string]units.Override{".service": c.Services, ".socket": c.Sockets, ".target": c.Targets} {
		for name, o := range overrides {
			name += kind
			switch {
			case name == "nix-daemon.service" || name == "web.service" || name == "sops-install-secrets.service":
				continue // not ours
			case !slices.Contains(names, name):
				t.Errorf("the module sets %s, which nix/units does not have", name)
				continue
			}
			write(t, filepath.Join(dir, name+".d", "overrides.conf"), o.Text(name))
		}
	}
	return files
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
	for _, name := range []string{"minimal", "full", "sopsEarly", "sopsLate", "keysUSB", "keysTPM", "keysServer"} {
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
			if more, other := exposureOf[name+" "+unit]; other {
				limit = more
			}
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

// A key source that mounts needs more than one that does not, and only its unit gets it.
func TestMountingNeedsMore(t *testing.T) {
	m := evalModule(t)
	caps := func(name string) string {
		return fmt.Sprint(m.Cases[name].Services["pullnode-keys"].ServiceConfig["CapabilityBoundingSet"])
	}
	if got := caps("keysUSB"); got != "[CAP_SYS_ADMIN]" {
		t.Errorf("usb: %s", got)
	}
	for _, name := range []string{"minimal", "full", "keysTPM", "keysServer", "sopsLate"} {
		if got := caps(name); got != "<nil>" {
			t.Errorf("%s: pullnode-keys gets %s", name, got)
		}
	}
	for unit, o := range m.Cases["keysUSB"].Services {
		if c := o.ServiceConfig["CapabilityBoundingSet"]; c != nil && unit != "pullnode-keys" {
			t.Errorf("usb: %s gets %v", unit, c)
		}
	}
	if got := fmt.Sprint(m.Cases["keysTPM"].Services["pullnode-keys"].ServiceConfig["SupplementaryGroups"]); got != "[tss]" {
		t.Errorf("tpm: groups %s", got)
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
	// Remotes on the machine itself: NixOS gives a service no git by itself.
	for _, unit := range []string{"pullnode", "pullnode-sync"} {
		if !hasPackage(minimal.Services[unit].Path, "gitMinimal") {
			t.Errorf("%s has no git: %q", unit, minimal.Services[unit].Path)
		}
	}
	if slices.Contains(minimal.Packages, "deploy-rs") || !slices.Contains(full.Packages, "deploy-rs") {
		t.Error("deploy-rs is installed where it was not asked for, or the other way round")
	}
}

func hasPackage(path []string, name string) bool {
	return slices.ContainsFunc(path, func(p string) bool { return strings.HasSuffix(p, "-"+name) })
}

// Where secrets are installed in the boot: sources of this machine before
// sysinit.target, others where a network can be; services wait for either.
func TestBootOrderOfSecrets(t *testing.T) {
	m := evalModule(t)
	has := func(what string, list []string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !slices.Contains(list, w) {
				t.Errorf("%s is %q, without %s", what, list, w)
			}
		}
	}
	early, late := m.Cases["sopsEarly"], m.Cases["sopsLate"]
	for name, c := range map[string]outcome{"early": early, "late": late} {
		s := c.Services["sops-install-secrets"]
		has(name+": after", s.After, "pullnode-keys.socket")
		has(name+": wants", s.Wants, "pullnode-keys.socket")
		has(name+": before", s.Before, "pullnode-secrets.target", "sysinit-reactivation.target")
		has(name+": required by", s.RequiredBy, "pullnode-secrets.target", "sysinit-reactivation.target")
		has(name+": the target is wanted by", c.Targets["pullnode-secrets"].WantedBy, "multi-user.target")
	}
	has("early: before", early.Services["sops-install-secrets"].Before, "sysinit.target")
	has("early: wanted by", early.Services["sops-install-secrets"].WantedBy, "sysinit.target")
	if s := late.Services["sops-install-secrets"]; len(s.WantedBy) != 0 {
		t.Errorf("late: wanted by %q", s.WantedBy)
	}
	has("late: after", late.Services["sops-install-secrets"].After, "pullnode-await-key.service")
	if !hasPackage(late.Services["pullnode-keyfetch@"].Path, "gitMinimal") {
		t.Errorf("pullnode-keyfetch@ has no git: %q", late.Services["pullnode-keyfetch@"].Path)
	}
	await := late.Services["pullnode-await-key"]
	has("late: the question comes after", await.After, "network-online.target", "pcscd.socket", "pullnode-keyfetch.socket")
	has("late: the question wants", await.Wants, "network-online.target", "pcscd.socket", "pullnode-keyfetch.socket")
	keys := late.Services["pullnode-keys"]
	has("yubikey: wants", keys.Wants, "pcscd.socket", "tpm2.target")
	has("tpm: after", keys.After, "tpm2.target")
	if slices.Contains(keys.After, "pcscd.socket") {
		t.Error("what asks before sysinit.target would wait for pcscd.socket, which comes after it")
	}
	if a := early.Services["pullnode-await-key"]; len(a.After)+len(a.Wants) != 0 {
		t.Errorf("early: the question waits for %q", a.After)
	}
	has("block-boot: before", await.Before, "multi-user.target")
	if b := early.Services["pullnode-await-key"].Before; len(b) != 0 {
		t.Errorf("degraded: the question is before %q", b)
	}
	for what, list := range map[string][]string{"requires": early.Services["web"].Requires, "after": early.Services["web"].After, "wanted by": early.Services["web"].WantedBy} {
		has("a service that needs secrets: "+what, list, "pullnode-secrets.target")
	}
	if len(m.Cases["minimal"].Targets) != 0 {
		t.Errorf("without key sources: %v", m.Cases["minimal"].Targets)
	}
}

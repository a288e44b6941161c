package units

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func all(t *testing.T) map[string]string {
	t.Helper()
	names, err := fs.Glob(Files, "*")
	if err != nil || len(names) != 12 {
		t.Fatalf("%v, %v", names, err)
	}
	units := map[string]string{}
	for _, n := range names {
		b, err := Files.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		units[n] = string(b)
	}
	return units
}

// systemd ignores a key that it does not know, with a line in the journal.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("no systemd-analyze: install the Debian package systemd")
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for name, text := range all(t) {
		file := filepath.Join(dir, name)
		text = strings.ReplaceAll(text, "=pullnode ", "=/bin/true ")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) || strings.Contains(line, "pullnode") {
			t.Error(line)
		}
	}
}

// What the process contract promises, and what would be easy to lose.
func TestPromises(t *testing.T) {
	units := all(t)
	for name, lines := range map[string][]string{
		"pullnode.service": {"Type=notify", "WatchdogSec=60", "Restart=always", "RestartSec=5",
			"StartLimitIntervalSec=0", "KillMode=process", "X-StopOnRemoval=false", "X-StopIfChanged=false",
			"RestrictAddressFamilies=AF_UNIX", "PrivateNetwork=yes", "ProtectSystem=strict", "RuntimeDirectoryPreserve=yes",
			"ReadWritePaths=/nix/var/nix/profiles /nix/var/nix/gcroots/pullnode /nix/var/pullnode"},
		"pullnode-sync.service": {"DynamicUser=yes", "StateDirectory=pullnode-sync", "CapabilityBoundingSet=", "X-StopIfChanged=false"},
		"pullnode-keys.socket":  {"SocketMode=0600", "DefaultDependencies=no", "ExecStartPost=pullnode plugin-file"},
		"pullnode-keys.service": {"Type=notify", "Restart=always", "X-StopIfChanged=false", "FileDescriptorStoreMax=1",
			"LimitCORE=0", "MemorySwapMax=0", "DefaultDependencies=no"},
		"pullnode-await-key.service": {"Type=oneshot", "RemainAfterExit=yes", "StopWhenUnneeded=yes", "DefaultDependencies=no",
			"TimeoutStartSec=infinity", "Requires=pullnode-keys.socket", "X-RestartIfChanged=false"},
		"pullnode-secrets.target": {"Requires=pullnode-await-key.service", "After=pullnode-await-key.service", "DefaultDependencies=no"},
		"pullnode-hold.service": {"StopWhenUnneeded=yes", "RemainAfterExit=yes", "DefaultDependencies=no",
			"X-RestartIfChanged=false", "X-StopOnRemoval=false"},
		"pullnode-handoff.service": {"StopWhenUnneeded=yes", "RemainAfterExit=yes", "DefaultDependencies=no",
			"X-RestartIfChanged=false", "X-StopOnRemoval=false"},
	} {
		for _, l := range lines {
			if !strings.Contains(units[name], "\n"+l+"\n") {
				t.Errorf("%s does not say %s", name, l)
			}
		}
	}
	for name, keys := range map[string][]string{
		"pullnode.service":         {"ProcSubset="}, // it reads boot_id
		"pullnode-dirs.service":    {"\nRemainAfterExit="},
		"pullnode-keys.service":    {"\nRuntimeDirectory="},
		"pullnode-handoff.service": {"\nProtect", "\nPrivate", "\nReadWritePaths", "\nBind", "\nTemporary"},
	} {
		for _, k := range keys {
			if strings.Contains(units[name], k) {
				t.Errorf("%s must not have %s", name, strings.TrimSpace(k))
			}
		}
	}
}

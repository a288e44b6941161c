package systemd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"pullnode/activate"
)

var update = flag.Bool("update", false, "write the golden files")

// The property lists with their D-Bus types: a wrong type is an error only on
// a machine, and there only when the guard is armed.
func TestGoldenProperties(t *testing.T) {
	s := &System{Settings: Settings{
		Paths: Paths{Pullnode: "/nix/store/p/bin/pullnode", Systemctl: "/nix/store/s/bin/systemctl",
			Run: "/run/pullnode"}.withDefaults(),
		SwitchMax: 10 * time.Minute, BootMax: time.Minute, Handoff: "pullnode-handoff.service",
	}}
	r := &Runner{RunnerSettings: RunnerSettings{
		Units: "/var/lib/pullnode/units", Cache: "/var/cache", Pullnode: "/nix/store/p/bin/pullnode",
		Path: "/bin", NixGroup: "nix-users", MemoryMax: 1 << 32, FileMax: 1 << 30, Env: []string{"A=b"},
	}}
	timer, guard := s.guardProps("7", "/nix/store/old", 1200*time.Second)
	job := activate.Job{Name: "eval", Argv: []string{"/bin/nix", "eval", "$x %y"}, Timeout: time.Minute}
	net := job
	net.Name, net.Network = "inputs", true
	asked := net
	asked.Name, asked.Credentials = "lifeline", map[string]string{"origin.token": "/etc/t", "b.key": "/etc/k"}
	check := net
	check.Name, check.User = "check-Web", "postgres"
	other := net
	other.Name = "check-Web"
	for name, props := range map[string][]dbus.Property{
		"switch":        s.switchProps("7", "/nix/store/new"),
		"back":          s.backProps("7", "/nix/store/old"),
		"boot-back":     s.bootBackProps("7", "/nix/store/old"),
		"boot":          s.bootProps("7", "/nix/store/new"),
		"guard.timer":   timer,
		"guard.service": guard,
		"eval":          r.jobProps("pullnode-eval-1", job, true),
		"inputs":        r.jobProps("pullnode-inputs-1", net, false),
		"lifeline":      r.jobProps("pullnode-lifeline-1", asked, false),
		"check":         r.jobProps("pullnode-check-Web-1", other, true),
		"check.user":    r.jobProps("pullnode-check-Web-1", check, true),
	} {
		var b strings.Builder
		seen := map[string]bool{}
		for _, p := range props {
			fmt.Fprintf(&b, "%s %s %s\n", p.Name, p.Value.Signature(), p.Value)
			if seen[p.Name] {
				t.Errorf("%s: %s is set twice", name, p.Name)
			}
			seen[p.Name] = true
			if strings.HasSuffix(p.Name, "Ex") {
				t.Errorf("%s: %s does not survive a daemon-reload on systemd 252", name, p.Name)
			}
		}
		file := filepath.Join("testdata", name+".props")
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s differs from %s:\n%s", name, file, b.String())
		}
	}
	for _, p := range guard {
		if p.Name == "Conflicts" && strings.Contains(p.Value.String(), "pullnode-switch") {
			t.Error("the guard conflicts with the switch")
		}
	}
}

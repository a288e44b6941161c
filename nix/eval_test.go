package nix

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// inputs are the environment variables that name the real flake inputs.
var inputs = map[string]string{"nixpkgs": "NIXPKGS", "sops-nix": "SOPS_NIX", "disko": "DISKO", "deploy-rs": "DEPLOY_RS", "nixos-anywhere": "NIXOS_ANYWHERE"}

type evaluation struct {
	Hosts        map[string]string            `json:"hosts"`
	Twins        map[string]string            `json:"twins"`
	Packages     map[string]map[string]string `json:"packages"`
	Disko        map[string]string            `json:"disko"`
	DeployChecks map[string]string            `json:"deployChecks"`
	Checks       map[string]string            `json:"checks"`
	Apps         map[string]string            `json:"apps"`
	Shell        string                       `json:"shell"`
	Deploy       struct {
		Nodes map[string]struct {
			Hostname string `json:"hostname"`
			Profiles map[string]struct {
				User string `json:"user"`
				Path string `json:"path"`
			} `json:"profiles"`
		} `json:"nodes"`
	} `json:"deploy"`
	Images map[string]struct {
		Image   string `json:"image"`
		Follows string `json:"follows"`
		Disk    string `json:"disk"`
	} `json:"images"`
	VMTests map[string]struct {
		SameMounts   bool     `json:"sameMounts"`
		ChangedUnits []string `json:"changedUnits"`
		Switches     bool     `json:"switches"`
	} `json:"vmTests"`
	Kexec    string `json:"kexec"`
	Template struct {
		Hosts   map[string]string `json:"hosts"`
		Checks  map[string]string `json:"checks"`
		Outputs struct {
			Hostname, Installer, Formatter string
			Packages, Apps, Shells         []string
		} `json:"outputs"`
	} `json:"template"`
	FindsVirtualDisks map[string]bool   `json:"findsVirtualDisks"`
	ActivateChecks    map[string]string `json:"activateChecks"`

	Lean struct {
		Hosts, Checks []string
		Apps          map[string]string
	} `json:"lean"`
	SopsAlone  map[string]any `json:"sopsAlone"`
	SopsBeside map[string]any `json:"sopsBeside"`
}

// The flake on real inputs: every host evaluates to a .drv, and what the
// documents say has no part in it. It needs Nix 2.18 or newer and the inputs in
// directories, so it is not part of `make test`: `make eval NIXPKGS=dir ...`.
func TestEvaluateFlake(t *testing.T) {
	args := ""
	for name, env := range inputs {
		dir := os.Getenv(env)
		if dir == "" {
			t.Skipf("%s is not set; see `make eval`", env)
		}
		args += name + " = " + file(t, dir) + "; "
	}
	var e evaluation
	all := "(import " + file(t, "tests/eval.nix") + " { " + args + "twin = " + twin(t) + "; lean = " + lean(t) + "; })"
	// One process for all of them would need more memory than many a machine has.
	done := ""
	for _, part := range []string{"hosts", "twins", "packages kexec", "images", "vmTests checks apps shell", "template", "sopsAlone sopsBeside"} {
		names := strings.ReplaceAll(part, " ", " = 1; ") + " = 1; "
		evaluate(t, "builtins.intersectAttrs { "+names+"} "+all, &e)
		done += "\"" + strings.ReplaceAll(part, " ", "\" \"") + "\" "
	}
	evaluate(t, "removeAttrs "+all+" [ "+done+"]", &e)

	drv := func(what, path string) {
		t.Helper()
		if !strings.HasPrefix(path, "/nix/store/") || !strings.HasSuffix(path, ".drv") {
			t.Errorf("%s: %q is no derivation", what, path)
		}
	}
	folders, err := filepath.Glob(filepath.Join(root, "hosts", "*", "host.nix"))
	if err != nil || len(e.Hosts) < len(folders) {
		t.Errorf("%d hosts evaluated of %d folders, %v", len(e.Hosts), len(folders), err)
	}
	for name, path := range e.Hosts {
		drv(name, path)
		if e.Twins[name] != path {
			t.Errorf("%s: a commit that changes only documents gives another system:\n%s\n%s", name, path, e.Twins[name])
		}
	}
	for system, packages := range e.Packages {
		for name, path := range packages {
			drv(system+" "+name, path)
		}
	}
	for name := range e.Deploy.Nodes {
		drv("disko of "+name, e.Disko[name])
		if n := e.Deploy.Nodes[name]; n.Hostname == "" || n.Profiles["system"].User != "root" {
			t.Errorf("deploy.nodes.%s: %+v", name, n)
		}
	}
	for _, set := range []map[string]string{e.DeployChecks, e.Checks, {"devShell": e.Shell}} {
		for name, path := range set {
			drv(name, path)
		}
	}
	for _, name := range []string{"iso", "install", "vm", "demo"} {
		if !strings.HasPrefix(e.Apps[name], "/nix/store/") {
			t.Errorf("app %s: %q", name, e.Apps[name])
		}
	}
	for name, i := range e.Images {
		drv(name, i.Image)
		if i.Follows != i.Image {
			t.Errorf("%s: what is started from the image follows another system:\n%s\n%s", name, i.Image, i.Follows)
		}
		if strings.Contains(i.Disk, "by-partlabel/disk-main") {
			t.Errorf("%s: its root is %s, which is disko's", name, i.Disk)
		}
	}
	for name := range e.Hosts {
		if !e.FindsVirtualDisks[name] {
			t.Errorf("%s has no driver of virtual disks in the initrd", name)
		}
	}
	for name, system := range map[string]string{"minimal": "aarch64-linux", "example": "x86_64-linux"} {
		for s, command := range e.ActivateChecks {
			if asked := strings.Contains(command, ":"+name+":"); asked != (s == system) {
				t.Errorf("checks.%s.deploy-activate looks at %s: %v", s, name, asked)
			}
		}
	}
	for name, path := range e.Template.Hosts {
		drv("the template's "+name, path)
	}
	for _, name := range []string{"evaluates-web01", "deploy-schema", "deploy-activate"} {
		drv("the template's check "+name, e.Template.Checks[name])
	}
	for _, part := range []string{"/bzImage root/kexec_nixos.d/kernel", "/initrd root/kexec_nixos.d/initrd", "/bin/kexec root/kexec_nixos.d/kexec"} {
		if !strings.Contains(e.Kexec, part) {
			t.Errorf("the kexec image is made without %s: %s", part, e.Kexec)
		}
	}
	o := e.Template.Outputs
	if len(e.Template.Hosts) != 1 || o.Hostname != "web01.example.org" || o.Installer != "https://git.example.org/infra.git" ||
		!slices.Contains(o.Packages, "installer-iso") || !slices.Contains(o.Packages, "web01-raw-efi") ||
		!slices.Equal(o.Apps, []string{"install", "iso"}) || len(o.Shells) != 1 {
		t.Errorf("the template: %+v", e.Template)
	}
	drv("the template's formatter", o.Formatter)
	for _, name := range []string{"deployed", "broken"} {
		v := e.VMTests[name]
		if !v.SameMounts || !v.Switches || slices.Contains(v.ChangedUnits, "broken.service") != (name == "broken") {
			t.Errorf("the VM test of the system %s would not switch to it: %+v", name, v)
		}
		for _, u := range []string{"backdoor.service", "nix-daemon.service", "pullnode.service", "pullnode-sync.service"} {
			if slices.Contains(v.ChangedUnits, u) {
				t.Errorf("the VM test of the system %s would lose %s in the switch", name, u)
			}
		}
	}
	if len(e.Checks) != 4 {
		t.Errorf("VM tests: %v", e.Checks)
	}
	if len(e.Images) < 2 || len(e.ActivateChecks) != 2 {
		t.Errorf("%d images, %d checks", len(e.Images), len(e.ActivateChecks))
	}
	if l := e.Lean; len(l.Hosts) != len(e.Hosts)-1 || !strings.HasPrefix(l.Apps["iso"], "/nix/store/") || l.Apps["vm"] != "" || len(l.Checks) == 0 || slices.Contains(l.Checks, "vm-starts") {
		t.Errorf("a fork without the example: %+v", l)
	}
	if len(e.SopsAlone) == 0 || !reflect.DeepEqual(e.SopsAlone, e.SopsBeside) {
		t.Errorf("pullnode without key sources changes sops-nix:\n%v\n%v", e.SopsAlone, e.SopsBeside)
	}
	t.Logf("evaluated: %v", e.Hosts)
}

// twin is a copy of the repository in which every document differs.
func twin(t *testing.T) string {
	return copied(t, func(name string, raw []byte) []byte {
		if filepath.Ext(name) == ".md" {
			raw = fmt.Append(raw, "\nAnother sentence.\n")
		}
		return raw
	})
}

// lean is a copy of the repository whose owner has deleted the example.
func lean(t *testing.T) string {
	return copied(t, func(name string, raw []byte) []byte {
		if strings.HasPrefix(name, "hosts/example/") {
			return nil
		}
		return raw
	})
}

// copied is a copy of the repository as change makes it; a file without content is
// left out.
func copied(t *testing.T, change func(name string, raw []byte) []byte) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if raw = change(name, raw); raw == nil {
			continue
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

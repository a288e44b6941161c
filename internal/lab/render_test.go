package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/nix/units"
)

// rendered is what the NixOS module makes of one host's options.
type rendered struct {
	Settings json.RawMessage           `json:"settings"`
	Failed   []string                  `json:"failed"`
	Services map[string]units.Override `json:"services"`
	Sockets  map[string]units.Override `json:"sockets"`
	Targets  map[string]units.Override `json:"targets"`
	Sops     struct {
		Age struct {
			KeyFile     string   `json:"keyFile"`
			SSHKeyPaths []string `json:"sshKeyPaths"`
		} `json:"age"`
	} `json:"sops"`
}

// render evaluates the module for services.pullnode = options, beside sops-nix with
// one secret.
func render(t *testing.T, options map[string]any) (r rendered) {
	t.Helper()
	raw, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	evaluate(t, &r, "-A", "host", "--argstr", "host", string(raw))
	if len(r.Failed) > 0 {
		t.Fatalf("the module refuses: %q", r.Failed)
	}
	return r
}

// evaluate asks nix/tests/module.nix.
func evaluate(t *testing.T, into any, args ...string) {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, map[string]string{"nix.conf": "build-users-group =\nsandbox = false\n"})
	cmd := exec.Command("nix-instantiate", append([]string{"--eval", "--strict", "--json", "--readonly-mode",
		filepath.Join("..", "..", "nix", "tests", "module.nix")}, args...)...)
	cmd.Env = append(os.Environ(), "NIX_REMOTE=", "NIX_STATE_DIR="+dir+"/var", "NIX_LOG_DIR="+dir+"/log", "NIX_CONF_DIR="+dir, "HOME="+dir, "XDG_CACHE_HOME="+dir)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("nix-instantiate: %v\n%s", err, errs.String())
	}
}

// units gives all unit files of the host: those of the package, of which NixOS
// ignores [Install], and what the module says of each. NixOS writes the second part
// as a drop-in and as links.
func (r rendered) units(t *testing.T) map[string]string {
	t.Helper()
	files, err := units.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	u := map[string]string{}
	for _, f := range files {
		raw, err := units.Files.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		u[f.Name()], _, _ = strings.Cut(string(raw), "\n[Install]\n")
		u[f.Name()] += "\n"
	}
	for kind, overrides := range map[string]map[string]units.Override{".service": r.Services, ".socket": r.Sockets, ".target": r.Targets} {
		for name, o := range overrides {
			if name += kind; name != "nix-daemon.service" {
				u[name] += o.Text(name)
			}
		}
	}
	return u
}

// settings gives the settings file.
func (r rendered) settings(t *testing.T) (s map[string]any) {
	t.Helper()
	if err := json.Unmarshal(r.Settings, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

package nix

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pullnode/internal/config"
	"pullnode/nix/units"
)

var update = flag.Bool("update", false, "write docs/options.md")

// outcome is what nix/tests/module.nix says of one configuration.
type outcome struct {
	Settings    json.RawMessage           `json:"settings"`
	Check       string                    `json:"check"`
	Failed      []string                  `json:"failed"`
	Services    map[string]units.Override `json:"services"`
	Sockets     map[string]units.Override `json:"sockets"`
	Targets     map[string]units.Override `json:"targets"`
	Packages    []string                  `json:"packages"`
	NixSettings map[string][]string       `json:"nixSettings"`
	Pcscd       bool                      `json:"pcscd"`
	Sops        json.RawMessage           `json:"sops"`
}

type module struct {
	Library  string             `json:"library"`
	Options  string             `json:"options"`
	Cases    map[string]outcome `json:"cases"`
	Refused  map[string]bool    `json:"refused"`
	Accepted bool               `json:"accepted"`
	Off      map[string]any     `json:"off"`
}

var evaluated = struct {
	sync.Once
	module
}{}

// evalModule evaluates once for all tests, on minilib.nix: this is not NixOS. On
// nixpkgs' library with NIXPKGS=dir, as `make eval` does.
func evalModule(t *testing.T) module {
	t.Helper()
	evaluated.Do(func() {
		arg := "{ }"
		if dir := os.Getenv("NIXPKGS"); dir != "" {
			arg = "{ nixpkgs = " + file(t, dir) + "; }"
		}
		evaluate(t, "import "+file(t, "tests/module.nix")+" "+arg, &evaluated.module)
	})
	if len(evaluated.Cases) == 0 {
		t.Fatal("nix/tests/module.nix did not evaluate")
	}
	t.Log("evaluated on", evaluated.Library)
	return evaluated.module
}

// What the module writes is what the program reads, and its defaults are the
// program's.
func TestSettingsOfTheModule(t *testing.T) {
	m := evalModule(t)
	for _, name := range []string{"minimal", "full", "observe", "sopsWired"} {
		if _, err := config.Parse(m.Cases[name].Settings); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := config.Parse(m.Cases["minimal"].Settings)
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Parse([]byte(`{"hostName":"web01","url":"https://git.example.org/infra.git","introduction":"` + got.Introduction + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	g, w := marshal(t, got), marshal(t, want)
	if g != w {
		t.Errorf("the module's defaults are not the program's:\n%s\n%s", g, w)
	}
	if _, err := config.Parse(m.Cases["freeForm"].Settings); err == nil || !strings.Contains(err.Error(), `"notYetTyped"`) {
		t.Errorf("a setting without an option must reach the program, which knows it or not: %v", err)
	}
	for name, c := range m.Cases {
		if !strings.Contains(c.Check, "/bin/pullnode check-config pullnode.json\n") {
			t.Errorf("%s: the settings are not checked when they are built: %s", name, c.Check)
		}
		if byBuilder := strings.Contains(c.Check, "-pullnode-of-the-builder/bin/pullnode"); byBuilder != (name == "cross") {
			t.Errorf("%s: the builder would run %s", name, c.Check)
		}
	}
}

// marshal drops what is empty: an empty list and none are the same setting.
func marshal(t *testing.T, c *config.Config) string {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Every setting of the program has an option.
func TestEverySettingHasAnOption(t *testing.T) {
	m := evalModule(t)
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := prefix + "." + strings.Split(f.Tag.Get("json"), ",")[0]
			ft := f.Type
			if ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct {
				walk(name+".*", ft.Elem())
			}
			if ft.Kind() == reflect.Struct {
				walk(name, ft)
				continue
			}
			if !strings.Contains(m.Options, "\n## "+name+"\n") {
				t.Errorf("%s has no option: add it in nix/module/settings*.nix", name)
			}
		}
	}
	walk("services.pullnode.settings", reflect.TypeFor[config.Config]())
}

func TestOptionsDocument(t *testing.T) {
	path := filepath.Join(root, "docs", "options.md")
	want := strings.TrimRight(evalModule(t).Options, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/options.md is not what nix/module.nix says (%v): go test ./nix -run TestOptionsDocument -update", err)
	}
}

func TestAssertions(t *testing.T) {
	m := evalModule(t)
	for name, say := range map[string][]string{
		"minimal": nil, "full": nil, "cross": nil, "keysUSB": nil, "keysTPM": nil, "keysServer": nil, "observe": nil, "sopsUntouched": nil, "sopsWired": nil, "sopsOwn": nil, "sopsEarly": nil, "sopsLate": nil,
		"sopsForUsers":     {"users are made before the keys process"},
		"sopsFileForUsers": {"hands no file over"},
		"nothing":          {"settings.url is missing", "settings.introduction is missing"},
		"autoUpgrade":      {"system.autoUpgrade would both switch"},
		"comin":            {"services.comin would both switch"},
		"daemonUser":       {"nix.daemonUser must be"},
		"everybodyTrusted": {"nix.settings.trusted-users trusts everybody"},
		"nixOff":           {"nix.enable must be true"},
		"noSwitch":         {"system.switch.enable must be true"},
	} {
		failed := m.Cases[name].Failed
		if len(failed) != len(say) {
			t.Errorf("%s: failed assertions %q, want %q", name, failed, say)
			continue
		}
		for i, s := range say {
			if !strings.Contains(failed[i], s) {
				t.Errorf("%s: %q, want %q", name, failed[i], s)
			}
		}
	}
	for name, refused := range m.Refused {
		if !refused {
			t.Errorf("%s is accepted", name)
		}
	}
	if !m.Accepted || len(m.Refused) < 6 {
		t.Errorf("accepted %v, refused %v", m.Accepted, m.Refused)
	}
	if len(m.Off) != 0 {
		t.Errorf("a machine without services.pullnode.enable gets %v", slices.Sorted(maps.Keys(m.Off)))
	}
}

// sops-nix is touched only where key sources are set, and what a host says
// itself stands.
func TestSopsWiring(t *testing.T) {
	m := evalModule(t)
	for name, want := range map[string]string{
		"sopsUntouched": `{"age":{"keyFile":null,"plugins":[],"sshKeyPaths":["/etc/ssh/ssh_host_ed25519_key"]},"gnupg":{"sshKeyPaths":["/etc/ssh/ssh_host_rsa_key"]},"secrets":{},"useSystemdActivation":false}`,
		"sopsWired":     `{"age":{"keyFile":"/run/pullnode-keys/age-plugin.txt","plugins":["pullnode"],"sshKeyPaths":[]},"gnupg":{"sshKeyPaths":[]},"secrets":{},"useSystemdActivation":true}`,
		"sopsFile":      `{"age":{"keyFile":"/run/pullnode-handoff/age.key","plugins":[],"sshKeyPaths":[]},"gnupg":{"sshKeyPaths":[]},"secrets":{},"useSystemdActivation":false}`,
		"sopsOwn":       `{"age":{"keyFile":"/var/lib/own.age","plugins":["pullnode"],"sshKeyPaths":[]},"gnupg":{"sshKeyPaths":[]},"secrets":{},"useSystemdActivation":false}`,
		"minimal":       `null`,
	} {
		if got := string(m.Cases[name].Sops); got != want {
			t.Errorf("%s: sops is %s, want %s", name, got, want)
		}
	}
}

// A source in hardware needs what the unit file alone does not give.
func TestRightsOfKeySources(t *testing.T) {
	devices := func(name string) []any {
		list, _ := evalModule(t).Cases[name].Services["pullnode-keys"].ServiceConfig["DeviceAllow"].([]any)
		return list
	}
	if got := devices("sopsLate"); !slices.Contains(got, any("char-tpm rw")) {
		t.Errorf("with a file that the TPM unlocks: DeviceAllow is %v", got)
	}
	if got := devices("full"); !slices.Contains(got, any("char-tpm rw")) {
		t.Errorf("with the source tpm: DeviceAllow is %v", got)
	}
	for name, c := range evalModule(t).Cases {
		if c.Pcscd != (name == "sopsLate") {
			t.Errorf("%s: pcscd %v", name, c.Pcscd)
		}
	}
	if got := devices("sopsWired"); len(got) != 0 {
		t.Errorf("with no source in hardware: DeviceAllow is %v", got)
	}
}

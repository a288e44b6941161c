// Package deps holds one test: the import direction, which the compiler does not
// know.
package deps

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which packages of this module each may import, directly. A
// trailing /... stands for everything below.
var allowed = map[string][]string{
	"sync":                       {},
	"sync/fetch":                 {"sync", "internal/registry", "internal/durable", "internal/config"},
	"keysrc":                     {"sync", "keysrc/pcsc", "keysrc/shares", "internal/registry", "internal/durable", "internal/config"},
	"keysrc/pcsc":                {},
	"keysrc/keysrctest":          {"keysrc", "keysrc/pcsc"},
	"keysrc/certs":               {},
	"keysrc/shares":              {},
	"activate":                   {"sync", "keysrc", "activate/health", "internal/durable"},
	"activate/health":            {"sync/fetch", "internal/registry", "internal/durable", "internal/config"},
	"activate/health/healthtest": {"activate/health"},
	"activate/plain":             {"activate"},
	"activate/systemd":           {"activate", "activate/health", "internal/durable"},
	"internal/agent":             {"activate", "activate/health", "sync", "keysrc", "internal/config", "internal/durable", "internal/registry", "internal/state"},
	"internal/config":            {"internal/registry"},
	"internal/install":           {},
	"internal/state":             {"internal/durable"},
	"internal/durable":           {},
	"internal/sopsconf":          {},
	"internal/enrol":             {},
	"internal/registry":          {},
	"internal/gitrig":            {"sync"},
	"internal/demo":              {"internal/agent", "internal/lab"},
	"internal/lab/...":           {"activate/...", "internal/...", "sync", "nix/..."},
	"internal/deps":              {},
	"nix":                        {"internal/config", "keysrc", "nix/units"},
	"nix/units":                  {},
	"cmd/pullnode":               {"sync", "sync/fetch", "keysrc", "keysrc/certs", "keysrc/shares", "activate/...", "internal/agent", "internal/config", "internal/enrol", "internal/install", "internal/durable", "internal/registry", "internal/sopsconf", "internal/state", "nix/units"},
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func matches(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		base, tree := strings.CutSuffix(p, "/...")
		return pkg == base || tree && strings.HasPrefix(pkg, base+"/")
	})
}

func TestImportDirection(t *testing.T) {
	for _, pkg := range list(t, "pullnode/...") {
		name := strings.TrimPrefix(pkg, "pullnode/")
		var may []string
		known := false
		for p, m := range allowed {
			if matches([]string{p}, name) {
				may, known = m, true
			}
		}
		if !known {
			t.Errorf("package %s is not in the table of this test", name)
			continue
		}
		for _, imp := range list(t, "-f", `{{join .Imports " "}}`, pkg) {
			if dep, ours := strings.CutPrefix(imp, "pullnode/"); ours && !matches(may, dep) {
				t.Errorf("%s imports %s", name, dep)
			}
		}
	}
}

// What parses verified bytes as root must not carry what parses anybody's.
func TestForbidden(t *testing.T) {
	for pkg, bad := range map[string][]string{
		"pullnode/sync":           {"github.com/go-git/", "net/http"},
		"pullnode/keysrc":         {"github.com/go-git/"},
		"pullnode/activate":       {"github.com/go-git/"},
		"pullnode/internal/agent": {"github.com/go-git/"},
	} {
		for _, dep := range list(t, "-deps", pkg) {
			for _, b := range bad {
				if dep == b || strings.HasSuffix(b, "/") && strings.HasPrefix(dep, b) {
					t.Errorf("%s depends on %s", pkg, dep)
				}
			}
		}
	}
	for _, dep := range list(t, "-deps", "pullnode/...") {
		if strings.HasPrefix(dep, "github.com/getsops/sops/v3") && !strings.HasSuffix(dep, "/age") && !strings.HasSuffix(dep, "/shamir") {
			t.Errorf("something imports %s, which brings the SDKs of every cloud", dep)
		}
	}
}

package deps

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// A promise whose test has gone or was renamed is no promise.
func TestSecurityNamesRealTests(t *testing.T) {
	raw, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("git", "grep", "-hoE", `^func (Test|Fuzz)\w+`, "--", "../../*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, l := range strings.Fields(strings.ReplaceAll(string(out), "func ", "")) {
		there[l] = true
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)").FindAllStringSubmatch(string(raw), -1)
	if len(named) < 30 {
		t.Fatalf("SECURITY.md names %d tests", len(named))
	}
	for _, n := range named {
		known := there[n[1]]
		for name := range there {
			known = known || strings.HasPrefix(name, n[1]) && strings.Contains(string(raw), n[0]+"*")
		}
		if !known {
			t.Errorf("SECURITY.md names %s, which is no test", n[1])
		}
	}
}

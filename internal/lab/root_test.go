package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// A machine's root is writable, its base is not written to, and nothing stays;
// by an overlay, and by a copy where there can be none: the kernel takes the
// colon in a name for the end of it.
func TestMakeRoot(t *testing.T) {
	for _, name := range []string{"base", "ba:se"} {
		base := filepath.Join(t.TempDir(), name)
		put(t, base, map[string]string{"etc/a": "1"})
		dir, err := os.MkdirTemp("", "pullnode-lab-root-")
		if err != nil {
			t.Fatal(err)
		}
		root, err := makeRoot(t.Context(), base, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(root + "/etc/a"); err != nil || string(got) != "1" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		put(t, root, map[string]string{"etc/a": "2", "new": ""})
		if got, err := os.ReadFile(base + "/etc/a"); err != nil || string(got) != "1" {
			t.Errorf("%s: the base has %q, %v", name, got, err)
		}
		if err := removeRoot(dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: %s is still there", name, dir)
		}
	}
}

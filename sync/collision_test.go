package sync

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Both files of the public collisions (SHAttered, and the chosen-prefix one of
// "SHA-1 is a Shambles") are told from others. They are in the module that detects
// them. Nobody has published a pair with git's header before it, so that an object is
// refused for it is shown no further than hashObject's one condition.
func TestCollisionsAreDetected(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/pjbgf/sha1cd").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shattered-1.pdf", "shattered-2.pdf", "sha-mbles-1.bin", "sha-mbles-2.bin"} {
		raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "test", "testdata", "files", name))
		if err != nil {
			t.Fatal(err)
		}
		// The header is hashed before the body: wherever one ends and the other begins.
		for _, at := range []int{0, 100, 192} {
			if _, collision := sha1Of(raw[:at], raw[at:]); !collision {
				t.Errorf("%s, cut at %d, passes", name, at)
			}
		}
		if _, collision := sha1Of(nil, raw[:192]); collision {
			t.Errorf("the harmless start of %s is refused", name)
		}
	}
}

package fetch

import (
	"os"
	"os/exec"
	"testing"
)

// A local repository may belong to another user than the service.
func TestLocalRepositoryOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("this test gives files to another user: run it as root")
	}
	r, ids := historyRepo(t)
	bare := r.Dir + "-bare.git"
	r.Git("clone", "-q", "--bare", r.Dir, bare)
	for _, path := range []string{bare, r.Dir} {
		if out, err := exec.Command("chown", "-R", "65534:65534", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink(bare, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bare, r.Dir, link, bare + "/"} {
		c := client(t, path)
		if tip, err := c.Tip(t.Context(), "main"); err != nil || tip != ids[2] {
			t.Errorf("%s: tip %q, %v", path, tip, err)
		}
	}
}

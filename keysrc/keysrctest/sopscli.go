package keysrctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// SopsCLI gives the path of the real sops: in $PATH, or where .ci/needs has put
// it. Without it the test is skipped.
func SopsCLI(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("sops"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Skip("no sops: ", err)
	}
	path := filepath.Join(cache, "pullnode-tools", "sops")
	if _, err := os.Stat(path); err != nil {
		tb.Skip("no sops in $PATH nor ", path)
	}
	return path
}

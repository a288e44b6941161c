package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// GoBinary builds a command of this module as a release has it, static and erasing
// its copies of keys, and gives its path in the cache directory. Go's own cache makes the second call cheap. Builds of one
// command wait for each other; the file is replaced, never changed.
func GoBinary(ctx context.Context, pkg string) (string, error) {
	return goBuild(ctx, pkg, filepath.Base(pkg), "build", "-trimpath")
}

// GoTestBinary builds a package's tests, static, to run them in a machine.
func GoTestBinary(ctx context.Context, pkg string) (string, error) {
	return goBuild(ctx, pkg, strings.ReplaceAll(pkg, "/", "-")+".test", "test", "-c")
}

func goBuild(ctx context.Context, pkg, name string, args ...string) (string, error) {
	if err := need("go", "golang"); err != nil {
		return "", err
	}
	path := filepath.Join(CacheDir(), "bin", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", path+".new", pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=runtimesecret")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s %s: %w\n%s", args[0], pkg, err, out)
	}
	return path, os.Rename(path+".new", path)
}

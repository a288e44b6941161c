package state

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock takes the directory for this process. The kernel gives it back when the
// process dies, however it dies.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if err != syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		buf := make([]byte, 20)
		n, _ := f.ReadAt(buf, 0)
		return nil, fmt.Errorf("%w: %s is held by process %s", ErrLocked, path, strings.TrimSpace(string(buf[:n])))
	}
	// The number is only for people; a full disk must not stop the agent here.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return f, nil
}

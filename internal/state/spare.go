package state

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"syscall"
)

const spareSize = 64 << 10

// sparePath gives the reserve of a file; both generations share one.
func sparePath(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path, ".prev"), ".json") + ".spare"
}

// makeSpare reserves room beside path for the write that records why the disk
// is full. Random bytes, because a file system that compresses or skips zeros
// would reserve nothing. No room for it is no reason to stop.
func makeSpare(path string) {
	spare := sparePath(path)
	if info, err := os.Lstat(spare); err == nil && info.Size() >= spareSize {
		return
	}
	data := make([]byte, spareSize)
	_, _ = rand.Read(data)
	if err := os.WriteFile(spare, data, 0o600); err != nil {
		os.Remove(spare)
	}
}

// withSpare runs write, and once more without the reserve beside path when the
// disk is full.
func withSpare(path string, write func() error) error {
	err := write()
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if rerr := os.Remove(sparePath(path)); rerr != nil {
		return err // the reserve is spent already
	}
	return write()
}

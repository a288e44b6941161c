package fetch

import (
	"errors"
	"os"
	"path/filepath"
)

// partOf names the file in which path is prepared: always the same one, so that
// a process that is killed leaves one behind at most.
func partOf(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
}

// replace puts data at path in one step. It does not sync: what is written here
// is asked for again after a power cut, and a poll must not cost a disk flush.
func replace(path string, data []byte, mode os.FileMode) error {
	part := partOf(path)
	os.Remove(part) // whatever it is: a FIFO there would hold this process for ever
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
	}
	return err
}

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// locate finds a path of the machine from here; through the eyes of its PID 1
// while it runs, so that its mounts are seen.
func (h *Host) locate(path string) (string, error) {
	root := h.Root
	if h.Running() && h.proc.leader != 0 {
		root = fmt.Sprintf("/proc/%d/root", h.proc.leader)
	}
	p, err := follow(root, path, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", h.Name, path, err)
	}
	return p, nil
}

// follow resolves p's links as the machine does, with root as /.
func follow(root, p string, depth int) (string, error) {
	if depth > 40 {
		return "", errors.New("too many links")
	}
	at := "/"
	parts := strings.Split(strings.Trim(filepath.Clean("/"+p), "/"), "/")
	for i, part := range parts {
		next := filepath.Join(at, part)
		to, err := os.Readlink(filepath.Join(root, next))
		if err != nil { // no link, or not there
			at = next
			continue
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		return follow(root, filepath.Join(append([]string{to}, parts[i+1:]...)...), depth+1)
	}
	return filepath.Join(root, at), nil
}

// Read reads a file of the machine, which need not be running. What the machine
// mounts over its root, such as /run, is read only while it runs.
func (h *Host) Read(path string) ([]byte, error) {
	p, err := h.locate(path)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(p)
}

// Write writes a file of the machine with mode 0644, and the directories above
// it. Like Read it needs no running machine.
func (h *Host) Write(path string, data []byte) error {
	return h.write(path, data, 0o644)
}

// Copy copies a file of this machine into the other one, with its mode.
func (h *Host) Copy(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return h.write(to, data, st.Mode().Perm())
}

func (h *Host) write(path string, data []byte, perm fs.FileMode) error {
	p, err := h.locate(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	// A new file: the old one may be a program that runs.
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(p, data, perm); err != nil {
		return err
	}
	return os.Chmod(p, perm)
}

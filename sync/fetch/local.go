package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	stdsync "sync"

	"pullnode/sync"
)

// localLink runs git upload-pack on a path of this machine. The repository may
// be another user's: exactly this path is declared safe, for this command only.
type localLink struct {
	path  string
	meter *meter
}

func (l *localLink) kind() string    { return "local" }
func (l *localLink) stateless() bool { return false }
func (l *localLink) close()          {}

func (l *localLink) open(ctx context.Context) (session, error) {
	if _, err := os.Stat(l.path); err != nil {
		c := sync.NotFound
		if errors.Is(err, os.ErrPermission) {
			c = sync.AuthFailed
		}
		return nil, &Error{Class: c, Text: oneLine(err.Error()), Err: err}
	}
	s := &localSession{}
	dir := l.gitDir()
	s.cmd = exec.CommandContext(ctx, "git", "-c", "safe.directory="+dir, "upload-pack", "--strict", dir)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=/nonexistent", "GIT_PROTOCOL=version=2",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = &s.said
	s.cmd.WaitDelay = time.Second
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, local("run git", err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, local("run git", err)
	}
	s.in, s.out = in, meteredReader{out, l.meter}
	if err := s.cmd.Start(); err != nil {
		return nil, local("run git", err)
	}
	return s, nil
}

// gitDir is the directory that git checks the owner of: of a work tree the .git
// in it, spelled as git spells it, or the exception does not match.
func (l *localLink) gitDir() string {
	dir := filepath.Clean(l.path)
	if fi, err := os.Stat(filepath.Join(dir, ".git")); err == nil && fi.IsDir() {
		return filepath.Join(dir, ".git")
	}
	return dir
}

type localSession struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.Reader
	said tail
}

func (s *localSession) advert() (io.Reader, error) { return s.out, nil }

func (s *localSession) ask(body string) (io.Reader, error) {
	_, err := io.WriteString(s.in, body)
	return s.out, err
}

func (s *localSession) close() error {
	io.WriteString(s.in, flushPkt)
	s.in.Close()
	io.CopyN(io.Discard, s.out, 64<<10)
	s.cmd.Wait()
	return s.said.reason()
}

// tail keeps the beginning of what a program wrote to stderr.
type tail struct {
	mu stdsync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 4<<10 - t.b.Len(); room > 0 {
		t.b.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func (t *tail) reason() error {
	if s := t.text(); s != "" {
		return serverSays(s)
	}
	return nil
}

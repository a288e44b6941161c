package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"pullnode/internal/durable"
	"pullnode/sync"
)

// Dirs says where the agent's files are. All paths are absolute.
type Dirs struct {
	State   string // root's own, 0700: /var/lib/pullnode
	Run     string // /run/pullnode
	Answer  string // the object stream, written by somebody else
	Report  string // the fetching process's report
	Scratch string // for the intake copy and exports
}

// intake opens the answer, which its writer may have made anything, and reads it
// into root's own copy.
func (a *Agent) intake(want sync.Want) (*sync.Stream, error) {
	in, err := openForeign(a.Dirs.Answer)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	path := filepath.Join(a.Dirs.Scratch, "intake")
	os.Remove(path)
	spool, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	// The name goes at once; the copy lives as long as what was verified from
	// it is held.
	os.Remove(path)
	s, err := sync.StreamReader{Want: want, Limits: sync.Limits{Files: a.Config.Fetch.MaxFiles}, Spool: spool}.Read(in)
	if err != nil {
		spool.Close()
	}
	return s, err
}

// ErrPlanted means that something else than a regular file lies where another
// process writes: nobody who keeps the contract puts that there.
var ErrPlanted = errors.New("not a regular file; not read")

// openForeign opens a file in another user's directory: no link is followed, a
// FIFO does not block, and only a regular file is read.
func openForeign(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return nil, fmt.Errorf("%s is a symbolic link: %w", path, ErrPlanted)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s: %w", path, kind(info.Mode()), ErrPlanted)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func kind(m os.FileMode) string {
	switch {
	case m&os.ModeNamedPipe != 0:
		return "FIFO"
	case m.IsDir():
		return "directory"
	}
	return "special file"
}

// ReadForeign reads a small file out of another user's directory.
func ReadForeign(path string, limit int64) ([]byte, error) {
	f, err := openForeign(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is over %d bytes", path, limit)
	}
	return raw, err
}

func (a *Agent) ancestorsPath() string { return filepath.Join(a.Dirs.State, "ancestors") }

// ancestors reads the ids of T's ancestors. The file names the T that it is for:
// one for another T, or a damaged one, is as good as none.
func (a *Agent) ancestors(trusted string) (map[sync.ID]bool, error) {
	if a.below.of == trusted && a.below.known != nil {
		return a.below.known, nil
	}
	known, err := a.readAncestors(trusted)
	if err == nil {
		a.below.of, a.below.known = trusted, known
	}
	return known, err
}

func (a *Agent) readAncestors(trusted string) (map[sync.ID]bool, error) {
	raw, err := os.ReadFile(a.ancestorsPath())
	if err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(bytes.NewReader(raw))
	if !sc.Scan() || sc.Text() != "of "+trusted {
		return nil, errors.New("ancestors of another commit")
	}
	known := map[sync.ID]bool{}
	for sc.Scan() {
		if sc.Text() == "end" {
			return known, nil
		}
		id, err := sync.ParseID(sc.Text())
		if err != nil {
			return nil, err
		}
		known[id] = true
	}
	return nil, errors.New("ancestors are cut short")
}

func (a *Agent) haveAncestors(trusted string) bool {
	_, err := a.ancestors(trusted)
	return err == nil
}

// addAncestors writes the ancestors of the new T before T itself is stored: with
// a crash in between the file is for another T and is asked for again.
func (a *Agent) addAncestors(old string, v sync.Verified) error {
	if string(v.Commit().ID) == old && a.haveAncestors(old) {
		return nil
	}
	known, err := a.ancestors(old)
	if err != nil {
		known = map[sync.ID]bool{}
	}
	for _, id := range v.NewAncestors() {
		known[id] = true
	}
	of := string(v.Commit().ID)
	if old != "" && len(v.NewAncestors()) == 0 {
		of = old
	}
	var b strings.Builder
	b.WriteString("of " + of + "\n")
	for id := range known {
		b.WriteString(string(id) + "\n")
	}
	b.WriteString("end\n")
	a.below.of, a.below.known = "", nil // read back: what is used is what is on disk
	return durable.WriteFile(a.ancestorsPath(), []byte(b.String()), 0o600)
}

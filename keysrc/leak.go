package keysrc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// Leak is a private key in a file that others can read. It names the file, never
// the key.
type Leak struct {
	Path      string
	Recipient string // public half of an age identity; empty for an SSH key
}

// LeakError lists what a scan has found.
type LeakError struct{ Leaks []Leak }

// Error has one line a file.
func (e *LeakError) Error() string {
	lines := []string{"a private key would be in the Nix store, where every user and every cache can read it: take it out, and treat it as leaked"}
	for _, l := range e.Leaks {
		what := "an SSH private key"
		if l.Recipient != "" {
			what = "the age identity of " + short(l.Recipient)
		}
		lines = append(lines, l.Path+": "+what)
	}
	return strings.Join(lines, "\n")
}

// The marks of private keys. A file that only speaks of them, as programs and
// manuals do, has no whole one behind the mark.
var (
	ageMark = []byte("AGE-SECRET-KEY-")
	sshMark = []byte("-----BEGIN OPENSSH PRIVATE KEY-----")
	sshBody = []byte("b3BlbnNzaC1rZXktdjE") // base64 of its magic, "openssh-key-v1"
)

const (
	scanChunk = 1 << 20
	scanKeep  = 4 << 10 // of the chunk before: a mark with all of a key
	maxLeaks  = 100
)

// Scanner looks for private keys in files, front to back in little memory.
type Scanner struct {
	// Only limits age identities to these public halves; nil is any. Packages
	// have example keys in their manuals, which are nobody's.
	Only []string
	// SSH looks for SSH private keys too.
	SSH bool

	buf []byte
}

// Tree scans every regular file below dir, which is not followed out of, and
// adds what it finds to leaks. A file that cannot be read is an error: it could
// hold anything.
func (s *Scanner) Tree(ctx context.Context, dir string, leaks []Leak) ([]Leak, error) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !d.Type().IsRegular() || len(leaks) >= maxLeaks {
			return nil
		}
		leaks, err = s.file(path, leaks)
		return err
	})
	return leaks, err
}

func (s *Scanner) file(path string, leaks []Leak) ([]Leak, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return leaks, err
	}
	defer f.Close()
	if s.buf == nil {
		s.buf = make([]byte, scanKeep+scanChunk)
	}
	defer clear(s.buf)
	kept := 0
	for {
		n, err := io.ReadFull(f, s.buf[kept:])
		all := s.buf[:kept+n]
		for _, l := range s.find(all) {
			if l.Path = path; !slices.Contains(leaks, l) {
				leaks = append(leaks, l)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return leaks, nil
		}
		if err != nil {
			return leaks, fmt.Errorf("%s: %w", path, err)
		}
		kept = copy(s.buf, all[len(all)-scanKeep:])
	}
}

func (s *Scanner) find(b []byte) (found []Leak) {
	for rest := b; ; {
		i := bytes.Index(rest, ageMark)
		if i < 0 {
			break
		}
		if r := recipientOf(rest[i:]); r != "" && (s.Only == nil || slices.Contains(s.Only, r)) {
			found = append(found, Leak{Recipient: r})
		}
		rest = rest[i+len(ageMark):]
	}
	for rest := b; s.SSH; {
		i := bytes.Index(rest, sshMark)
		if i < 0 {
			break
		}
		rest = rest[i+len(sshMark):]
		// The line may be indented or written as "\n" inside a string.
		if bytes.HasPrefix(bytes.TrimLeft(rest[:min(len(rest), 64)], "\r\n\\n\t "), sshBody) {
			found = append(found, Leak{})
		}
	}
	return found
}

// recipientOf gives the public half of the age identity that b begins with, or ""
// when it is none: the checksum tells.
func recipientOf(b []byte) string {
	end := len(ageMark)
	for end < len(b) && end < 200 && (b[end] >= 'A' && b[end] <= 'Z' || b[end] >= '0' && b[end] <= '9' || b[end] == '-') {
		end++
	}
	ids, err := age.ParseIdentities(bytes.NewReader(b[:end]))
	if err != nil || len(ids) != 1 {
		return ""
	}
	r, _ := publicHalf(ids[0])
	return r
}

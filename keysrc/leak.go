package keysrc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// Leak is a secret in a file that others can read. It names the file, never the
// secret.
type Leak struct {
	Path      string
	Recipient string // public half, of an age identity
	Value     string // name, of a decrypted value; with neither it is an SSH key
}

// String gives one line for people.
func (l Leak) String() string {
	switch {
	case l.Value != "":
		return l.Path + ": " + l.Value
	case l.Recipient != "":
		return l.Path + ": the age identity of " + short(l.Recipient)
	}
	return l.Path + ": an SSH private key"
}

// LeakError lists what a scan has found.
type LeakError struct{ Leaks []Leak }

// Error has one line a file.
func (e *LeakError) Error() string {
	lines := []string{"a secret would be in the Nix store, where every user and every cache can read it: take it out, and treat it as leaked"}
	for _, l := range e.Leaks {
		lines = append(lines, l.String())
	}
	return strings.Join(lines, "\n")
}

// The mark of age identities. A file that only speaks of them, as programs and
// manuals do, has no whole one behind the mark.
var ageMark = []byte("AGE-SECRET-KEY-")

const (
	scanChunk = 256 << 10 // fits a second-level cache
	scanKeep  = maxValue  // of the chunk before: a whole value, a mark with all of a key
	maxLeaks  = 100
)

// Look says what a Scanner looks for.
type Look struct {
	// Only limits age identities to these public halves; nil is any. Packages
	// have example keys in their manuals, which are nobody's.
	Only []string
	// SSH looks for SSH private keys too, but for those with the fingerprints of
	// Public (as of `ssh-keygen -l`), which everybody is meant to have.
	SSH    bool
	Public []string
	// Values are looked for as they are and as a JSON string has them; those that
	// are Short are not. Whitespace around them does not count.
	Values Values
}

// Scanner looks for secrets in files, front to back in little memory. Several
// goroutines may use one.
type Scanner struct{ stack *haystack }

// NewScanner makes a Scanner. It has copies of pieces of the values until it is
// wiped, and does not outlive them.
func NewScanner(look Look) *Scanner {
	needles := []needle{{ageMark, func(rest []byte) (Leak, bool) {
		r := recipientOf(rest)
		return Leak{Recipient: r}, r != "" && (look.Only == nil || slices.Contains(look.Only, r))
	}}}
	if look.SSH {
		needles = append(needles, sshNeedle(look.Public))
	}
	for _, v := range look.Values {
		if v.Short() {
			continue
		}
		found := func([]byte) (Leak, bool) { return Leak{Value: v.String()}, true }
		needles = append(needles, needle{v.text, found})
		if quoted := inJSON(v.text); !bytes.Equal(quoted, v.text) {
			needles = append(needles, needle{quoted, found})
		}
	}
	return &Scanner{newHaystack(needles)}
}

// inJSON gives text as it stands inside a JSON string, as of builtins.toJSON.
func inJSON(text []byte) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if !utf8.Valid(text) || enc.Encode(string(text)) != nil {
		return text
	}
	return b.Bytes()[1 : b.Len()-2][:min(b.Len()-3, maxValue)]
}

// Wipe overwrites what the Scanner knows of the values.
func (s *Scanner) Wipe() { s.stack.wipe() }

// Trees scans every regular file below each of dirs, or the file that it is, on
// two processors. Links are not followed; their targets are looked at. A file that
// cannot be read is an error: it could hold anything. Leaks are in the order of
// their paths, and no more than a hundred.
func (s *Scanner) Trees(ctx context.Context, dirs []string) ([]Leak, error) {
	files, found := make(chan string, 64), make(chan []Leak, scanWorkers)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	for range scanWorkers {
		go func() {
			w := scan{stack: s.stack, buf: make([]byte, scanKeep+scanChunk+8)}
			for path := range files {
				if err := w.file(path); err != nil {
					stop(err)
				}
			}
			clear(w.buf)
			found <- w.leaks
		}()
	}
	walkErr := walkAll(ctx, dirs, files)
	close(files)
	var leaks []Leak
	for range scanWorkers {
		leaks = append(leaks, <-found...)
	}
	slices.SortFunc(leaks, func(a, b Leak) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.String(), b.String())) })
	return leaks[:min(len(leaks), maxLeaks)], walkErr
}

// scanWorkers is what a machine that has work of its own can spare.
const scanWorkers = 2

func walkAll(ctx context.Context, dirs []string, files chan<- string) error {
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if d.Type().IsRegular() || d.Type()&fs.ModeSymlink != 0 {
				files <- path
			}
			return context.Cause(ctx)
		})
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// scan is one goroutine's.
type scan struct {
	stack *haystack
	buf   []byte
	leaks []Leak
}

func (w *scan) file(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		w.look(path, w.buf[:copy(w.buf[:scanChunk], target)])
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	kept := 0
	for {
		n, err := unix.Read(fd, w.buf[kept:scanKeep+scanChunk])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return nil
		}
		all := w.buf[:kept+n]
		w.look(path, all)
		kept = copy(w.buf, all[max(0, len(all)-scanKeep):])
	}
}

func (w *scan) look(path string, b []byte) {
	w.stack.find(b, func(l Leak) {
		if l.Path = path; len(w.leaks) < maxLeaks && !slices.Contains(w.leaks, l) {
			w.leaks = append(w.leaks, l)
		}
	})
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

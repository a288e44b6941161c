package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pullnode/internal/durable"
)

// The results of an Entry.
const (
	ResultKept         = "kept"         // tried, healthy, committed
	ResultReverted     = "reverted"     // tried, and the old system put back
	ResultStuck        = "stuck"        // tried, and the old system could not be put back
	ResultInconclusive = "inconclusive" // put back without proof that it is bad
	ResultRefused      = "refused"      // not tried: trust, quarantine or a check before the switch
	ResultPending      = "pending"      // not tried: waits for more signatures
	ResultFailed       = "failed"       // not tried: could not be fetched, built or switched to
	ResultNeedsReboot  = "needs-reboot" // not tried: no switch leads there, only a reboot
	ResultUnchanged    = "unchanged"    // a new commit that gives the running system
	ResultTrusted      = "trusted"      // root named this commit as the one to begin with anew; Why says why
)

// whyLimit bounds the text of an entry, which may quote a build log.
const whyLimit = 4 << 10

// Entry is one line of history.jsonl.
type Entry struct {
	Time       time.Time     `json:"time"`
	Commit     string        `json:"commit,omitempty"`
	Subject    string        `json:"subject,omitempty"`
	Signer     string        `json:"signer,omitempty"`
	Toplevel   string        `json:"toplevel,omitempty"`
	Generation int           `json:"generation,omitempty"`
	Result     string        `json:"result"`
	Took       time.Duration `json:"took,omitempty"` // nanoseconds
	Why        string        `json:"why,omitempty"`
}

// sameRefusal says whether o is the refusal that e was, met again later.
func (e Entry) sameRefusal(o Entry) bool {
	repeats := e.Result == ResultRefused || e.Result == ResultPending || e.Result == ResultNeedsReboot
	return repeats && e.Result == o.Result && e.Commit == o.Commit && e.Why == o.Why
}

func historyPath(dir string) string { return filepath.Join(dir, "history.jsonl") }

// lookBack is how many entries are looked through for the same refusal.
const lookBack = 200

// Append adds an entry to the history. A refusal that repeats the last entry of
// its commit is left out: each process meets the same tip anew, and so does one
// whose server shows it in turns. Errors: ErrNewerSchema, those of the file
// system.
func (s *Store) Append(e Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.block, ErrNewerSchema) {
		return s.block
	}
	if len(e.Why) > whyLimit {
		e.Why = e.Why[:whyLimit]
	}
	if e.Time.IsZero() {
		e.Time = s.conf.Now().UTC()
	}
	if e.Result == ResultRefused {
		list, err := ReadHistory(s.conf.Dir, lookBack)
		if err != nil {
			return err
		}
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].Commit == e.Commit {
				if list[i].sameRefusal(e) {
					return nil
				}
				break
			}
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := historyPath(s.conf.Dir)
	return withSpare(s.conf.statePath(), func() error {
		// After a torn line, which a crash or a full disk left, start anew.
		out := append(line, '\n')
		if torn(path) {
			out = append([]byte{'\n'}, out...)
		}
		return durable.Append(path, out, 0o600)
	})
}

// torn says whether the file ends in the middle of a line.
func torn(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], size-1)
	return err == nil && b[0] != '\n'
}

// History gives the last n entries, oldest first, as ReadHistory.
func (s *Store) History(n int) ([]Entry, error) { return ReadHistory(s.conf.Dir, n) }

// ReadHistory gives the last n entries of the directory's history, oldest first.
// It needs no lock. Lines that are no entry, such as a torn one, are skipped; a
// missing file is an empty history.
func ReadHistory(dir string, n int) ([]Entry, error) {
	f, err := os.Open(historyPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	// The file only grows, so it is read from its end, twice as much each time.
	for back := int64(64 << 10); ; back *= 2 {
		from := max(0, size-back)
		buf := make([]byte, size-from)
		if _, err := f.ReadAt(buf, from); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if from > 0 { // the first line is cut
			_, buf, _ = bytes.Cut(buf, []byte{'\n'})
		}
		if list := entries(buf); len(list) >= n || from == 0 {
			return list[max(0, len(list)-max(0, n)):], nil
		}
	}
}

func entries(buf []byte) (list []Entry) {
	for line := range bytes.Lines(buf) {
		var e Entry
		// A line without its end is not acknowledged yet.
		if bytes.HasSuffix(line, []byte{'\n'}) && json.Unmarshal(line, &e) == nil && e.Result != "" {
			list = append(list, e)
		}
	}
	return list
}

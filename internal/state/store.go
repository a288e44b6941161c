package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pullnode/internal/durable"
)

// Config says where the state is.
type Config struct {
	Dir       string           // /var/lib/pullnode
	FloorPath string           // /nix/var/pullnode/floor.json
	Now       func() time.Time // wall clock; time.Now when nil

	codecs codecs // tests put a newer schema here
	write  func(path string, data []byte, perm os.FileMode) error
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.codecs == nil {
		c.codecs = builtin
	}
	if c.write == nil {
		c.write = durable.WriteFile
	}
	return c
}

// Store is the one writer of a state directory. Its methods may be called from
// any goroutine.
type Store struct {
	conf   Config
	lock   *os.File
	alerts []string
	block  error

	mu     sync.Mutex
	cur    State
	body   []byte // cur as its schema stores it, to see what changes
	high   uint64 // the highest counter that any file may have
	schema int
	dirty  bool // a file is not what a write of cur would leave
}

// Open locks the directory, making it if need be, and loads the youngest valid
// state. A damaged file is moved to <name>.broken.<n>, with an alert.
//
// Errors: ErrLocked; ErrUnreadable and ErrNewerSchema, with which a Store is
// given all the same: it can be read (with a newer schema as far as this program
// understands it, so that a try in flight can be reverted) and closed, and its
// Update gives that error again. Any other error is one of the file system.
func Open(c Config) (*Store, error) {
	c = c.withDefaults()
	for dir, perm := range map[string]os.FileMode{c.Dir: 0o700, filepath.Dir(c.FloorPath): 0o755} {
		if err := os.MkdirAll(dir, perm); err != nil {
			return nil, err
		}
	}
	l, err := lock(c.Dir)
	if err != nil {
		return nil, err
	}
	d, err := c.load()
	if err != nil {
		l.Close()
		return nil, err
	}
	s := &Store{conf: c, lock: l, alerts: d.alerts, block: d.err, cur: d.state, schema: d.schema, dirty: d.dirty}
	if errors.Is(d.err, ErrNewerSchema) {
		return s, d.err
	}
	if s.schema == 0 {
		s.schema = c.codecs.newest()
	}
	if err := s.settle(d); err != nil {
		l.Close()
		return nil, err
	}
	return s, s.block
}

// settle does what loading found to be necessary on disk.
func (s *Store) settle(d found) error {
	s.high = s.cur.Counter
	for _, f := range d.files {
		s.high = max(s.high, f.env.Counter)
		if f.damage != nil {
			to, _ := brokenName(f.path)
			if err := os.Rename(f.path, to); err != nil {
				return err
			}
			if err := durable.SyncDir(filepath.Dir(f.path)); err != nil {
				return err
			}
			s.alerts = append(s.alerts, fmt.Sprintf("%s was moved to %s", f.path, to))
		}
		// Left by a writer that was killed; the lock says that none is at work.
		left, _ := filepath.Glob(filepath.Join(filepath.Dir(f.path), "."+filepath.Base(f.path)+".tmp-*"))
		for _, name := range left {
			os.Remove(name)
		}
	}
	makeSpare(s.conf.statePath())
	makeSpare(s.conf.FloorPath)
	var err error
	s.body, err = s.conf.codecs[s.schema].encode(s.cur)
	return err
}

// Close gives the directory back.
func (s *Store) Close() error { return s.lock.Close() }

// Alerts says what was wrong when the state was loaded; empty when nothing was.
func (s *Store) Alerts() []string { return slices.Clone(s.alerts) }

// State gives a copy of the current state.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, _ := s.cur.clone() // cur was encoded before
	return c
}

// WriteSchema is the schema that Update writes: what was found, or the newest
// where nothing was. See Upgrade.
func (s *Store) WriteSchema() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.schema
}

// Blocked says why nothing can be stored: ErrUnreadable, until StartOver, or
// ErrNewerSchema. It is nil for a store that works.
func (s *Store) Blocked() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.block
}

// StartOver ends ErrUnreadable with a state that f makes out of nothing: the
// operator has said anew what to trust. Errors as Update, of which the store is
// as blocked as before.
func (s *Store) StartOver(f func(*State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(s.block, ErrUnreadable) {
		return fmt.Errorf("there is nothing to start over: the state can be read")
	}
	block, cur := s.block, s.cur
	// What was lost had counted on: neither counter may be one of its numbers.
	s.cur.Counter, s.dirty, s.block = takeover, true, nil
	s.high = max(s.high, takeover)
	s.cur.Request = max(takeover, uint64(s.conf.Now().UnixNano()))
	if err := s.update(f); err != nil {
		s.block, s.cur = block, cur
		return err
	}
	return nil
}

// Upgrade lets Update write this program's newest schema. It is called when the
// system that this program came with is committed, never before: until then the
// old agent may have to read the files after a revert. Errors as Update.
func (s *Store) Upgrade() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.schema
	if s.schema = s.conf.codecs.newest(); s.schema == old {
		return s.block
	}
	s.dirty = true
	if err := s.update(func(*State) error { return nil }); err != nil {
		s.schema = old
		return err
	}
	return nil
}

// Update applies f to a copy of the state and stores the result; nothing is
// stored when f fails or changes nothing. When it returns nil the new state
// survives a power cut. When it returns an error the caller must not go on with
// the step that it wanted to record: the old state counts, except that T, once
// it is in the floor file, stays there.
//
// Errors: f's own; ErrUnreadable, ErrNewerSchema; those of the file system, a
// full disk only after the reserve was used up.
func (s *Store) Update(f func(*State) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.update(f)
}

func (s *Store) update(f func(*State) error) error {
	if s.block != nil {
		return s.block
	}
	next, err := s.cur.clone()
	if err != nil {
		return err
	}
	if err := f(&next); err != nil {
		return err
	}
	if err := s.conf.check(s.cur, next); err != nil {
		return err
	}
	switch {
	case next.Attempt == nil:
		next.Stores = 0
	case !next.sameAttempt(s.cur):
		next.Stores = s.cur.Stores + 1
	}
	body, err := s.conf.codecs[s.schema].encode(next)
	if err != nil {
		return err
	}
	if bytes.Equal(body, s.body) && !s.dirty {
		return nil
	}
	return s.store(next, body)
}

// check refuses what no later load would keep.
func (c Config) check(cur, next State) error {
	if next.Request < cur.Request {
		return fmt.Errorf("request number may not fall from %d to %d", cur.Request, next.Request)
	}
	if u := next.SuspendedUntil; u != nil && u.Sub(c.Now()) > farAhead {
		return fmt.Errorf("a suspension may last at most %d days; suspend without an end instead", farAhead/(24*time.Hour))
	}
	return nil
}

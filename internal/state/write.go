package state

import "fmt"

// store writes next. The order matters: the current state as the previous
// generation, so that it exists twice before anything new is written; then the
// floor, so that no state file ever trusts more than the floor; then the state.
// A kill between any two of these loads the old state or the new one, at worst
// the old one with the new T.
func (s *Store) store(next State, body []byte) error {
	s.high++ // also when this fails: what it left must not look as young as what follows
	next.Schema, next.Counter = s.schema, s.high

	raw, err := s.conf.codecs.encode(s.schema, next.Counter, next)
	if err != nil {
		return err
	}
	old, err := s.conf.codecs.encode(s.schema, s.cur.Counter, s.cur)
	if err != nil {
		return err
	}
	if err := s.put(s.conf.prevPath(), old); err != nil {
		return err
	}
	if s.dirty || !next.sameFloor(s.cur) {
		if err := s.putFloor(next); err != nil {
			return err
		}
	}
	if err := s.put(s.conf.statePath(), raw); err != nil {
		return err
	}
	s.cur, s.body, s.dirty = next, body, false
	makeSpare(s.conf.statePath())
	makeSpare(s.conf.FloorPath)
	return nil
}

// putFloor writes the floor of next. From then on cur has its T too, whatever
// happens to the state file: a restart would find it in the floor.
func (s *Store) putFloor(next State) error {
	s.dirty = true
	raw, err := s.conf.codecs.encode(s.schema, next.Counter, floor{Trusted: next.Trusted, Origins: next.Origins})
	if err != nil {
		return err
	}
	if err := s.put(s.conf.FloorPath, raw); err != nil {
		// The rename may have happened although the sync after it failed.
		if f, rerr := read(s.conf.FloorPath); rerr != nil || !f.ok() || f.env.Counter != next.Counter {
			return err
		}
		s.adopt(next)
		return err
	}
	s.adopt(next)
	return nil
}

func (s *Store) adopt(next State) {
	own, err := next.clone()
	if err != nil {
		return
	}
	s.cur.Trusted, s.cur.Origins = own.Trusted, own.Origins
}

func (s *Store) put(path string, raw []byte) error {
	err := withSpare(path, func() error { return s.conf.write(path, raw, 0o600) })
	if err != nil {
		return fmt.Errorf("store state: %w", err)
	}
	return nil
}

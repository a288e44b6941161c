package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"pullnode/activate"
)

// Boot installs p's boot entries and makes p the default. It always runs anew:
// the same id may first have written the new system and now puts the old one
// back. A run of that name that an earlier agent left is waited for.
func (s *System) Boot(ctx context.Context, id string, p activate.StorePath) error {
	return s.boot(ctx, id, p, s.bootProps(id, string(p)))
}

// BootBack is Boot without pre-switch checks.
func (s *System) BootBack(ctx context.Context, id string, p activate.StorePath) error {
	return s.boot(ctx, id, p, s.bootBackProps(id, string(p)))
}

func (s *System) boot(ctx context.Context, id string, p activate.StorePath, props []dbus.Property) error {
	if err := validID(id); err != nil {
		return err
	}
	// The boot loader is written first by switch-to-configuration and the store
	// only then: after a power cut an entry would lead to nothing.
	if err := s.sync(ctx); err != nil {
		return err
	}
	unit, record := bootUnit(id), "boot-"+id
	if err := s.rest(ctx, unit); err != nil {
		return err
	}
	if err := removeRecord(s.Paths.Run, record); err != nil {
		return err
	}
	ended := func() bool {
		_, err := readRecord(s.Paths.Run, record)
		return err == nil
	}
	err := s.ensure(ctx, unit, func() error {
		return s.bus.start(ctx, unit, props)
	}, ended)
	if err != nil {
		return err
	}
	if err := s.rest(ctx, unit); err != nil {
		return err
	}
	e, err := readRecord(s.Paths.Run, record)
	if err != nil {
		return fmt.Errorf("make %s the default: %w", p, err)
	}
	if exit, ok := e.exit(); !ok || exit != 0 || e.Result != "success" {
		return fmt.Errorf("make %s the default: %s: %s %s %s", p, unit, e.Result, e.Code, e.Status)
	}
	return nil
}

// CleanLoader is the verb "pullnode clean-loader <dir>". It removes dir's
// loader.tmp if it is older than this boot: then a power cut left it, and
// systemd-boot's installer would die on it each time. No such file is no error.
func CleanLoader(dir string) error {
	booted, err := bootTime("/proc/stat")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "loader.tmp")
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || !st.ModTime().Before(booted) {
		return nil
	}
	return os.Remove(path)
}

// bootTime reads btime: proc(5).
func bootTime(stat string) (time.Time, error) {
	raw, err := os.ReadFile(stat)
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("%s: btime: %w", stat, err)
			}
			return time.Unix(n, 0), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s has no btime", stat)
}

package systemd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"pullnode/activate/health"
)

// Started gives all units that systemd has loaded and that a switch may start,
// by name: transient units and those that stand for hardware are not among them.
// Errors mean unknown.
func (u *Units) Started(ctx context.Context) (map[string]health.Started, error) {
	var all map[string]health.Started
	err := patiently(ctx, u.patience, u.pause, func() (bool, error) {
		units, err := u.bus.list(ctx, nil)
		if err != nil {
			return false, err
		}
		all = map[string]health.Started{}
		for _, unit := range units {
			switch filepath.Ext(unit.Name) {
			case ".device", ".scope", ".slice", ".target":
				continue
			}
			if unit.LoadState != "loaded" {
				continue
			}
			st, err := u.bus.state(ctx, unit.Name)
			if err != nil {
				return false, err
			}
			if st.transient {
				continue
			}
			file, err := digestFiles(append([]string{st.fragment}, st.dropIns...))
			if err != nil {
				return false, err
			}
			all[unit.Name] = health.Started{Invocation: st.invocation, File: file, NRestarts: st.restarts}
		}
		return true, nil
	})
	return all, err
}

// digestFiles is short: it tells a change, it proves nothing. A file that has
// just gone is a change as well.
func digestFiles(paths []string) (string, error) {
	h := sha256.New()
	for _, p := range paths {
		if p == "" {
			continue
		}
		raw, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		h.Write([]byte(filepath.Base(p) + "\x00"))
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

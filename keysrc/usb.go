package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"pullnode/internal/registry"
)

func init() { registry.Add(&Kinds, "usb", openUSB) }

// usbSettings are those of the source "usb".
type usbSettings struct {
	// Label or UUID of the file system on the stick, as blkid shows it; one of
	// them.
	Label string `json:"label,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	// File is the path of the identity file on the stick.
	File string `json:"file"`
	// Wait is how long to wait for a stick that is not there; a duration like
	// "30s", default none.
	Wait string `json:"wait,omitempty"`
	// Unlock says what the file is encrypted for, if it is: see unlock.
	Unlock string `json:"unlock,omitempty"`
}

// stick is the source "usb".
type stick struct {
	label, uuid, file string
	wait              time.Duration
	unlock            unlock
	disks             disks
}

func openUSB(s usbSettings) (Source, error) {
	switch {
	case s.Label == "" && s.UUID == "":
		return nil, errors.New("label: is missing, or uuid: of the file system on the stick")
	case s.Label != "" && s.UUID != "":
		return nil, errors.New("uuid: is there beside label, want one of them")
	case !fs.ValidPath(s.File) || s.File == ".":
		return nil, fmt.Errorf("file: %q is not a path on the stick, like \"keys/host.age\"", s.File)
	}
	u := stick{label: s.Label, uuid: canonUUID(s.UUID), file: path.Clean(s.File), disks: systemDisks}
	var err error
	if u.unlock, err = openUnlock(s.Unlock); err != nil {
		return nil, err
	}
	if s.Wait != "" {
		if u.wait, err = time.ParseDuration(s.Wait); err != nil || u.wait < 0 || u.wait > time.Hour {
			return nil, fmt.Errorf("wait: %q is no duration up to 1h; write it like \"30s\"", s.Wait)
		}
	}
	return u, nil
}

// canonUUID makes the ways in which a UUID is written one.
func canonUUID(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }

// Name is Source's.
func (u stick) Name() string {
	if u.label != "" {
		return "usb:" + u.label + "/" + u.file
	}
	return "usb:" + u.uuid + "/" + u.file
}

// Fetch is Source's. It waits for the stick by the kernel's word about each new
// disk, and looks again now and then in case that word is lost.
func (u stick) Fetch(ctx context.Context) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	news := func(context.Context, time.Duration) {}
	if u.wait > 0 {
		// Before the first look, so that nothing falls between.
		var stop func()
		var err error
		if news, stop, err = u.disks.watch(); err != nil {
			return nil, fmt.Errorf("wait for the stick: %w", err)
		}
		defer stop()
	}
	for end := time.Now().Add(u.wait); ; {
		k, err := u.look(ctx)
		left := time.Until(end)
		if !errors.Is(err, ErrAbsent) || left <= 0 {
			return k, err
		}
		news(ctx, min(left, 5*time.Second))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// look tries the one file system that is meant. Two that carry its name could be
// the work of somebody who plugged a second one in, so neither is taken.
func (u stick) look(ctx context.Context) (*Key, error) {
	found, inside, err := u.disks.find(func(p volume) bool {
		return u.label != "" && p.label == u.label || u.uuid != "" && p.uuid == u.uuid
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) > 1:
		return nil, fmt.Errorf("%d file systems have that name (%s, %s): pull one out", len(found), found[0].dev, found[1].dev)
	case len(found) == 0 && inside != "":
		return nil, fmt.Errorf("%s has that name and is a disk inside this machine, want one that can be pulled out", inside)
	case len(found) == 0:
		return nil, fmt.Errorf("%w: no such stick is plugged in", ErrAbsent)
	}
	raw, err := found[0].read(u.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found[0].dev, err)
	}
	defer clear(raw)
	return u.unlock.key(ctx, raw)
}

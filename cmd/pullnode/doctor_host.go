package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// services are the units of an installed host.
func (d *doctor) services(ctx context.Context) {
	if d.root != "" {
		return
	}
	if d.units == nil {
		d.add("units", levelSkip, "", "systemd does not run here")
		return
	}
	want := []string{"pullnode.service", "pullnode-sync.service"}
	if d.config != nil && len(d.config.Keys.Sources) > 0 {
		want = append(want, "pullnode-keys.socket")
	}
	for _, name := range want {
		switch u, err := d.units.Unit(ctx, name); {
		case err != nil:
			d.fail("units", "systemctl status "+name, "%s: %v", name, err)
		case u.Load == "not-found":
			d.fail("units", "docs/architecture.md says which units there are", "%s is not installed", name)
		case u.Active != "active":
			d.fail("units", "journalctl -u "+name+"; sudo systemctl restart "+name, "%s is %s (%s)", name, u.Active, u.Sub)
		default:
			d.ok("units", "%s is active", name)
		}
	}
}

// released is before the first release: a clock that shows less is not set.
var released = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (d *doctor) clock() {
	if now := d.now(); now.Before(released) {
		d.fail("clock", "set it; certificates and timers are wrong until then", "it shows %s", now.UTC().Format(time.RFC3339))
		return
	}
	switch ok, err := d.synchronised(); {
	case err != nil:
		d.add("clock", levelSkip, "", "whether it is synchronised cannot be told: %v", err)
	case !ok:
		d.warn("clock", "timedatectl status; enable an NTP client", "it is set, but not synchronised")
	default:
		d.ok("clock", "it is synchronised")
	}
}

// clockSynchronised asks the kernel: adjtimex(2).
func clockSynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0 && state != unix.TIME_ERROR, err
}

const mib = 1 << 20

// disks looks for room where a deployment writes.
func (d *doctor) disks() {
	if d.root != "" {
		d.disk(d.root, 256*mib, 512*mib)
		return
	}
	d.disk("/nix", 1024*mib, 4096*mib)
	d.disk(d.state.Dir, 16*mib, 64*mib)
	if dir := d.bootDir(); dir != "" {
		d.disk(dir, 32*mib, 128*mib) // a kernel and its initrd are about 60 MiB
	}
}

func (d *doctor) disk(path string, fail, warn uint64) {
	st, err := d.statfs(path)
	if errors.Is(err, os.ErrNotExist) {
		return // said elsewhere
	}
	if err != nil {
		d.fail("disk", "look at the disk", "%s: %v", path, err)
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	next := "nix-collect-garbage -d removes old systems"
	if path == d.bootDir() {
		next = "lower boot.loader.*.configurationLimit, then nix-collect-garbage -d and a switch"
	}
	switch {
	case free < fail:
		d.fail("disk", next, "%s has %d MiB free; a deployment would fail", path, free/mib)
	case free < warn:
		d.warn("disk", next, "%s has %d MiB free", path, free/mib)
	case st.Files > 0 && st.Ffree < 5000:
		d.fail("disk", next, "%s has room for %d more files; a deployment would fail", path, st.Ffree)
	default:
		d.ok("disk", "%s has %d MiB free", path, free/mib)
	}
}

// bootDir is where the boot loader's files are, "" where there is none.
func (d *doctor) bootDir() string {
	for _, dir := range d.boots {
		for _, name := range []string{"loader", "grub", "extlinux"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return dir
			}
		}
	}
	return ""
}

// loader says whether a kept system could become the boot default.
func (d *doctor) loader() {
	if d.root != "" {
		return
	}
	dir := d.bootDir()
	if dir == "" {
		d.add("loader", levelSkip, "", "no boot loader's files are in /boot")
		return
	}
	st, err := d.statfs(dir)
	if err == nil && st.Flags&unix.ST_RDONLY != 0 {
		err = errors.New("it is mounted read-only")
	}
	if err == nil {
		err = unix.Access(dir, unix.W_OK)
	}
	if err != nil {
		d.fail("loader", "mount -o remount,rw "+dir+"; a system that is healthy is put back when it cannot become the boot default", "%s cannot be written: %v", dir, err)
		return
	}
	d.ok("loader", "%s can be written", dir)
}

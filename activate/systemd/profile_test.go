package systemd

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func link(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Symlink(to, from); err != nil {
		t.Fatal(err)
	}
}

func TestFacts(t *testing.T) {
	d := t.TempDir()
	s := &System{Settings: Settings{Paths: Paths{Run: d, Store: d + "/store", Current: d + "/current", Profile: d + "/system"}.withDefaults()}}
	if _, err := s.Facts(context.Background()); err == nil {
		t.Error("facts without links")
	}
	link(t, d+"/store/aaa-nixos", s.Paths.Current)
	link(t, "system-12-link", s.Paths.Profile)
	link(t, d+"/store/bbb-nixos", d+"/system-12-link") // dangling: not our business
	f, err := s.Facts(context.Background())
	if err != nil || string(f.Running) != d+"/store/aaa-nixos" || string(f.Default) != d+"/store/bbb-nixos" {
		t.Errorf("%+v, %v", f, err)
	}
	if len(f.BootID) < 37 || f.Now <= 0 {
		t.Errorf("boot %q, now %v", f.BootID, f.Now)
	}
	same, err := s.Facts(context.Background())
	if err != nil || same.BootID != f.BootID {
		t.Errorf("the same boot is %q and %q, %v", f.BootID, same.BootID, err)
	}
	os.Remove(d + "/boot") // as a reboot does, also of a container
	if other, err := s.Facts(context.Background()); err != nil || other.BootID == f.BootID {
		t.Errorf("another boot is %q too, %v", other.BootID, err)
	}
	if n, err := generation(s.Paths.Profile); n != 12 || err != nil {
		t.Errorf("generation %d, %v", n, err)
	}
	s.Paths.SwitchState = d
	for _, half := range []bool{false, true} {
		if f, err := s.Facts(context.Background()); err != nil || f.HalfSwitched != half {
			t.Errorf("half switched: %v, %v; want %v", f.HalfSwitched, err, half)
		}
		if err := os.WriteFile(d+"/start-list", []byte("multi-user.target\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loop := filepath.Join(d, "loop")
	link(t, "loop", loop)
	if got, err := s.Paths.resolve(loop); err == nil {
		t.Errorf("a loop leads to %q", got)
	}
}

func TestCleanLoader(t *testing.T) {
	d := t.TempDir()
	tmp := filepath.Join(d, "loader.tmp")
	if err := CleanLoader(d); err != nil {
		t.Error("nothing to clean:", err)
	}
	booted, err := bootTime("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	for at, stays := range map[time.Time]bool{booted.Add(-time.Hour): false, booted.Add(time.Minute): true} {
		if err := os.WriteFile(tmp, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(tmp, at, at); err != nil {
			t.Fatal(err)
		}
		if err := CleanLoader(d); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(tmp); (err == nil) != stays {
			t.Errorf("written %v after the boot: %v", at.Sub(booted), err)
		}
	}
}

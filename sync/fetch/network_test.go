package fetch

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/sync"
)

// lonely moves this goroutine to a network of its own, where nothing is up.
func lonely(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// loUp brings up the one interface, with its addresses.
func loUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	r.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkUp(t *testing.T) {
	lonely(t)
	ctx, cancel := context.WithCancel(t.Context())
	up, err := NetworkUp(ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-up:
		t.Fatal("told before anything came up")
	default:
	}
	loUp(t)
	select {
	case <-up:
	case <-time.After(time.Minute):
		t.Fatal("nobody told")
	}
	cancel()
	for end := time.After(time.Minute); ; {
		select {
		case _, open := <-up:
			if !open {
				return
			}
		case <-end:
			t.Fatal("it goes on after the end")
		}
	}
}

// A report of a failure says so, once, when the network comes up; one of a
// success never.
func TestReportNetworkUp(t *testing.T) {
	dir := t.TempDir()
	s := &Server{conf: Config{ReportPath: dir + "/report"}}
	read := func() sync.Report {
		t.Helper()
		raw, err := os.ReadFile(s.conf.ReportPath)
		if err != nil {
			t.Fatal(err)
		}
		r, err := sync.DecodeReport(raw)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, class := range []sync.Class{sync.Unreachable, sync.Unchanged} {
		if err := s.report(sync.Report{Format: sync.StreamFormat, Request: 7, Class: class}); err != nil {
			t.Fatal(err)
		}
		if read().NetworkUp {
			t.Error("before it came up")
		}
		if err := s.networkUp(); err != nil {
			t.Fatal(err)
		}
		if r := read(); r.NetworkUp != (class == sync.Unreachable) || r.Class != class || r.Request != 7 {
			t.Errorf("%+v", r)
		}
		os.Remove(s.conf.ReportPath)
		if err := s.networkUp(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(s.conf.ReportPath); err == nil {
			t.Error("told twice")
		}
	}
}

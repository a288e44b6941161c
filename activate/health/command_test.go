package health_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pullnode/activate/health"
)

func TestCommand(t *testing.T) {
	seams := commandKind(t).Seams
	for settings, want := range map[string]string{
		`{"argv":["/bin/sh","-c","echo a; echo no luck >&2; exit 3"]}`:        "/bin/sh ended with status 3: no luck",
		`{"argv":["/bin/sh","-c","kill -9 $$"]}`:                              "killed by signal killed",
		`{"argv":["/bin/sh","-c","test $(id -un) = nobody"],"user":"nobody"}`: "",
		`{"argv":["/bin/true"],"user":"no-such-user-x"}`:                      "no-such-user-x",
	} {
		expect(t, "command", settings, seams, want)
	}
}

// TestCommandKillsItsGroup: what a command leaves in the background dies with
// it, at the timeout and at its regular end.
func TestCommandKillsItsGroup(t *testing.T) {
	for name, end := range map[string]string{"timeout": "wait", "exit": "exit 0"} {
		t.Run(name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			script := fmt.Sprintf("sleep 1000 & echo $! > %[1]s.tmp; mv %[1]s.tmp %[1]s; %[2]s", pidFile, end)
			r, err := health.Plain{}.Command(t.Context(), health.Command{Argv: []string{"/bin/sh", "-c", script}, Timeout: 2 * time.Second})
			if err != nil || r.TimedOut != (name == "timeout") {
				t.Fatalf("%+v, %v", r, err)
			}
			raw, err := os.ReadFile(pidFile)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err != nil {
				t.Fatal(err)
			}
			for !dead(pid) { // when it lives on, go test's own timeout says so
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// dead says whether a process is gone or waits to be reaped.
func dead(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == syscall.ESRCH
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	return fields[0] == "Z" || fields[0] == "X"
}

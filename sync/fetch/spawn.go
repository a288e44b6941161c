package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"pullnode/sync"
)

// spawn runs one job in a child process and gives its report. The child and
// everything that it started are killed when the time is over or ctx ends.
// ok is false when the child died, whatever the reason: what it left in the
// repository is then not to be trusted.
func spawn(ctx context.Context, cmd *exec.Cmd, j job) (rep sync.Report, ok bool) {
	rep = sync.Report{Format: sync.StreamFormat, Request: j.Want.Request, Remote: j.Remote.Name}
	in, err := json.Marshal(j)
	if err != nil {
		setError(&rep, local("start the fetching process", err))
		return rep, false
	}
	// The child has a few seconds more than it gives itself, for its report.
	ctx, cancel := context.WithTimeoutCause(ctx, j.Limits.withDefaults().Fetch+grace, errDeadline)
	defer cancel()
	var out reportBuffer
	var said tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	// The death signal is tied to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		setError(&rep, local("start the fetching process", err))
		return rep, false
	}
	group := -cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { syscall.Kill(group, syscall.SIGKILL) })
	err = cmd.Wait()
	stop()
	syscall.Kill(group, syscall.SIGKILL) // helpers that outlived it
	if err != nil {
		setError(&rep, deathOf(ctx, err, said.text()))
		return rep, false
	}
	got, err := sync.DecodeReport(out.b)
	if err != nil || got.Request != rep.Request {
		setError(&rep, fail(Internal, "the fetching process gave no report"))
		return rep, false
	}
	got.Remote = rep.Remote
	return got, true
}

// grace is how much longer than its own deadline a child may live.
const grace = 5 * time.Second

func deathOf(ctx context.Context, err error, said string) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return &Error{Class: sync.TimedOut, Text: oneLine("the fetching process was killed: " + context.Cause(ctx).Error()), Err: ctx.Err()}
	case !errors.As(err, &exit):
		return local("wait for the fetching process", err)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return fail(sync.OverLimit, "the fetching process was killed: it needed more time or memory than it may have")
	}
	if strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory") {
		return fail(sync.OverLimit, "the fetching process needed more memory than it may have")
	}
	first, _, _ := strings.Cut(said, "\n")
	return fail(Internal, "the fetching process failed (%v): %s", err, first)
}

// reportBuffer takes as much as a report may have and drops the rest.
type reportBuffer struct{ b []byte }

func (r *reportBuffer) Write(p []byte) (int, error) {
	if room := sync.ReportLimit + 1 - len(r.b); room > 0 {
		r.b = append(r.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

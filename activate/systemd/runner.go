package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"pullnode/activate"
)

// How much of a job's output is kept: DESIGN section 3, "units".
const (
	maxOut = 64 << 10
	maxErr = 1 << 20
)

// RunnerSettings is what NewRunner needs. Every field has a default.
type RunnerSettings struct {
	Records  string // where the ends of jobs are recorded; /run/pullnode
	Units    string // where their output goes; /var/lib/pullnode/units
	Cache    string // what CacheDirectory= is below; /var/cache
	Pullnode string // this binary when empty, for its verb "record"
	Path     string // where a job's program is looked up, and its PATH
	NixGroup string // given to jobs where it exists; nix-users
	// MemoryMax bounds evaluation: the builders belong to nix-daemon. 0: none.
	MemoryMax uint64
	// FileMax bounds each file that a job writes, so that an evaluation which
	// traces for ever cannot fill the disk with standard error; 1 GiB.
	FileMax uint64
	Env     []string // more of a job's environment, such as NIX_SSL_CERT_FILE
	// Patience is as in Settings.
	Patience time.Duration
}

// Runner is activate.Runner: each job is a transient unit without authority,
// with a user of its own unless the job names one.
type Runner struct {
	RunnerSettings
	bus   bus
	pause time.Duration
	n     atomic.Uint64
}

var _ activate.Runner = (*Runner)(nil)

// NewRunner makes the directory for output and fails when it cannot.
func NewRunner(s RunnerSettings) (*Runner, error) {
	for _, f := range []struct {
		to  *string
		def string
	}{
		{&s.Records, "/run/pullnode"},
		{&s.Units, "/var/lib/pullnode/units"},
		{&s.Cache, "/var/cache"},
		{&s.Path, os.Getenv("PATH")},
		{&s.NixGroup, "nix-users"},
	} {
		if *f.to == "" {
			*f.to = f.def
		}
	}
	if s.FileMax == 0 {
		s.FileMax = 1 << 30
	}
	if s.Patience == 0 {
		s.Patience = 15 * time.Second
	}
	if s.Pullnode == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("runner: %w", err)
		}
		s.Pullnode = self
	}
	abs, err := lookPath(s.Pullnode, "")
	if err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	s.Pullnode = abs
	if err := os.MkdirAll(s.Units, 0o700); err != nil {
		return nil, fmt.Errorf("runner: %w", err)
	}
	return &Runner{RunnerSettings: s, bus: &private{}, pause: 50 * time.Millisecond}, nil
}

// Run starts the job, waits for its end and gives what it said. When ctx ends
// first, the job is stopped.
func (r *Runner) Run(ctx context.Context, j activate.Job) (activate.JobResult, error) {
	if err := checkJob(j); err != nil {
		return activate.JobResult{}, err
	}
	program, err := lookPath(j.Argv[0], r.Path)
	if err != nil {
		return activate.JobResult{}, fmt.Errorf("job %s: %w", j.Name, err)
	}
	j.Argv = append([]string{program}, j.Argv[1:]...)
	unit, err := r.launch(ctx, j)
	if err != nil {
		return activate.JobResult{}, fmt.Errorf("job %s: %w", j.Name, err)
	}
	defer r.forget(unit)
	err = patiently(ctx, r.Patience, r.pause, func() (bool, error) {
		if _, err := readRecord(r.Records, unit); err == nil {
			return true, nil
		}
		st, err := r.bus.state(ctx, unit+".service")
		return err == nil && !st.runs(), err
	})
	if ctx.Err() != nil {
		r.stop(unit)
	}
	if err != nil {
		return activate.JobResult{}, fmt.Errorf("job %s: wait for %s: %w", j.Name, unit, err)
	}
	return r.collect(unit)
}

// launch starts the job under the first name that is free. An agent that died
// may have left a job that still runs; its files are not touched.
func (r *Runner) launch(ctx context.Context, j activate.Job) (unit string, err error) {
	err = patiently(ctx, r.Patience, r.pause, func() (bool, error) {
		for range 1000 {
			unit = "pullnode-" + j.Name + "-" + strconv.FormatUint(r.n.Add(1), 10)
			st, err := r.bus.state(ctx, unit+".service")
			if err != nil {
				return false, err
			}
			if st.load != "not-found" {
				continue
			}
			r.forget(unit)
			err = r.bus.start(ctx, unit+".service", r.jobProps(unit, j, r.hasGroup()))
			if errors.Is(err, errExists) {
				continue
			}
			return err == nil, err
		}
		return false, fmt.Errorf("no free name for %s", unit)
	})
	return unit, err
}

func (r *Runner) collect(unit string) (activate.JobResult, error) {
	e, err := readRecord(r.Records, unit)
	if err != nil {
		return activate.JobResult{}, fmt.Errorf("how %s ended: %w", unit, err)
	}
	var res activate.JobResult
	exit, exited := e.exit()
	res.Exit = exit
	switch {
	case e.Result == "timeout" || e.Result == "oom-kill":
		res.Reason = e.Result
	case e.Code == "killed" || e.Code == "dumped":
		res.Reason = "signal"
	case !exited:
		return res, fmt.Errorf("%s was not started: %s", unit, e.Result)
	}
	if res.Out, err = readRegular(r.file(unit, ".out"), maxOut, false); err != nil {
		return res, fmt.Errorf("output of %s: %w", unit, err)
	}
	if res.Err, err = readRegular(r.file(unit, ".err"), maxErr, true); err != nil {
		return res, fmt.Errorf("output of %s: %w", unit, err)
	}
	return res, nil
}

// stop asks for the end of a job that nobody waits for any more and gives it
// some time: the next job of that name shares its cache.
func (r *Runner) stop(unit string) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Patience)
	defer cancel()
	asked := false
	_ = patiently(ctx, r.Patience, r.pause, func() (bool, error) {
		st, err := r.bus.state(ctx, unit+".service")
		if err != nil || !st.runs() {
			return err == nil, err
		}
		if !asked {
			err = r.bus.stop(ctx, unit+".service")
			asked = err == nil
		}
		return false, err
	})
}

func (r *Runner) file(unit, suffix string) string { return filepath.Join(r.Units, unit+suffix) }

func (r *Runner) forget(unit string) {
	os.Remove(r.file(unit, ".out"))
	os.Remove(r.file(unit, ".err"))
	_ = removeRecord(r.Records, unit)
}

func (r *Runner) hasGroup() bool {
	_, err := user.LookupGroup(r.NixGroup)
	return err == nil
}

func checkJob(j activate.Job) error {
	if err := validID(j.Name); err != nil {
		return fmt.Errorf("%.40q is no name of a job", j.Name)
	}
	for name, path := range j.Credentials {
		if name == "" || strings.ContainsAny(name, "/:\x00") || !filepath.IsAbs(path) {
			return fmt.Errorf("job %s: %q of %q is no credential", j.Name, name, path)
		}
	}
	if len(j.Argv) == 0 || j.Timeout <= 0 {
		return fmt.Errorf("job %s: no command or no time", j.Name)
	}
	return nil
}

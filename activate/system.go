// Package activate turns a verified commit into a running, healthy system, or
// puts the old one back.
//
// It builds (resolve, then realise), tries the result without touching the boot
// default, lets health decide, and only then makes it the default. Every step
// that cannot be taken back is in the journal before it is taken, and each phase
// has a rule for an agent that starts in the middle of it. A guard outside this
// process reverts when nobody confirms.
//
// It never runs "switch" and never "--rollback": what it goes back to is the
// store path that it recorded. It does not decide which commit may run; package
// sync does, and hands it over as Verified.
package activate

import (
	"context"
	"time"
)

// StorePath is a path like /nix/store/<hash>-<name>.
type StorePath string

// Facts is what the machine says of itself, read anew each time.
type Facts struct {
	Running StorePath     // what /run/current-system is
	Default StorePath     // what boots next time: the target of the system profile
	BootID  string        // changes with every boot
	Now     time.Duration // since boot, including suspend (CLOCK_BOOTTIME)
	// HalfSwitched says that a switch was begun here and did not come to its end.
	HalfSwitched bool
}

// Result is how a switch-to-configuration run ended, from the durable file that
// the run itself left.
type Result struct {
	Done   bool   // false: still running, or nobody knows
	Exit   int    // switch-to-configuration's exit status
	Signal string // set when it was killed; "timeout" when that was for its time
	Lost   bool   // it neither runs nor left a result
}

// Guard is the dead man's switch of one try.
type Guard struct {
	ID    string
	After time.Duration // from now
	Old   StorePath     // what to go back to
}

// System is the seam to the machine. One implementation runs transient systemd
// units, one runs plain processes in a directory for trying pullnode out.
//
// An error of any method means that the truth is unknown, never that the thing
// asked about is gone.
type System interface {
	Facts(ctx context.Context) (Facts, error)
	// StartTest starts <p>/bin/switch-to-configuration test outside this
	// process and returns as soon as it runs. id names the run. Starting an id
	// that already runs or ran is no error.
	StartTest(ctx context.Context, id string, p StorePath) error
	// StartBack is StartTest for the system that ran before: that system's own
	// pre-switch checks are not asked, because nothing may refuse the way back.
	StartBack(ctx context.Context, id string, p StorePath) error
	// Result says how the run id ended, or that it has not.
	Result(ctx context.Context, id string) (Result, error)
	// StopTest ends the run id, if it still runs, and waits until it has.
	StopTest(ctx context.Context, id string) error
	// Arm starts the guard. Arming an id twice is no error.
	Arm(ctx context.Context, g Guard) error
	// Disarm stops the guard's timer and returns when its service does not run.
	Disarm(ctx context.Context, id string) error
	// SetProfile makes p the newest generation of the system profile, durably,
	// and gives its number.
	SetProfile(ctx context.Context, p StorePath) (generation int, err error)
	// Boot runs <p>/bin/switch-to-configuration boot to its end.
	Boot(ctx context.Context, id string, p StorePath) error
	// BootBack is Boot for the system that was the default before, without its
	// pre-switch checks.
	BootBack(ctx context.Context, id string, p StorePath) error
	// Decide writes the decision for a try. It gives the decision that stands:
	// the caller's, or that of whoever was first.
	Decide(id string, d Decision) (Decision, error)
}

// Decision is the one word in a try's decision file.
type Decision string

// The two decisions. Whoever creates the file first has decided.
const (
	Confirm Decision = "confirm"
	Revert  Decision = "revert"
)

// Job is one command that runs with no authority: evaluation, build, inputs.
type Job struct {
	Name    string   // "eval", "build", "inputs"; names the unit and its files
	Argv    []string // the first is looked up in PATH
	Network bool     // may it open connections
	Timeout time.Duration
	// User runs it as that user of the machine, without any capability. Empty
	// gives it a user of its own.
	User string
	// Credentials are files that the job may read though its user may not, by
	// the name under which it finds them in $CREDENTIALS_DIRECTORY.
	Credentials map[string]string
}

// JobResult is how a job ended. A job that ran and failed is no error.
type JobResult struct {
	Exit   int
	Out    []byte // at most 64 KiB
	Err    []byte // the end of standard error, at most 1 MiB
	Reason string // "timeout", "oom-kill", "signal", or "" when it exited
}

// Runner runs jobs. An error means that it could not be started or watched.
type Runner interface {
	Run(ctx context.Context, j Job) (JobResult, error)
}

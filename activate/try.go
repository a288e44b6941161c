package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Attempt is one try, as the journal keeps it.
type Attempt struct {
	ID           string
	Phase        Phase
	Candidate    StorePath
	Prev         StorePath // ran before
	PrevDefault  StorePath // booted by default before
	BootID       string
	Deadline     time.Duration // CLOCK_BOOTTIME of BootID at which the guard reverts
	Baseline     json.RawMessage
	Reason       string          // why it is reverted
	Inconclusive bool            // the reason proves nothing against the candidate
	Report       json.RawMessage // what Judge found, where it found it ill
	KeepDefault  bool            // operation test: never make it the boot default
	// Looping is set by Load: the attempt was stored more often than any way
	// through the phases needs. It is put back.
	Looping bool
}

// Journal keeps the one attempt that may be under way.
type Journal interface {
	// Save stores the attempt durably before it returns. After an error the
	// step that it announces must not be taken.
	Save(a Attempt) error
	// Load gives the attempt that is under way, if any.
	Load() (a Attempt, ok bool, err error)
	// End forgets the attempt.
	End() error
}

// Health is what the try asks about the system.
type Health interface {
	// Baseline records the running system before the switch.
	Baseline(ctx context.Context) (json.RawMessage, error)
	// Judge watches the new system until it is proven good or bad or the
	// deadline of its windows has passed.
	Judge(ctx context.Context, baseline json.RawMessage) Judgement
	// Recheck asks what the report says was ill once more, on the old system.
	// Healthy means that the old system is well there, so it was the new one.
	Recheck(ctx context.Context, baseline, report json.RawMessage) Judgement
}

// Judgement is what health found.
type Judgement struct {
	Healthy      bool
	Inconclusive bool            // not healthy, but it need not be the system's fault
	Why          string          // one line a cause
	Report       json.RawMessage // the evidence, for Recheck, which may be another process
}

// OutcomeName is how a try ended.
type OutcomeName string

// The outcomes.
const (
	Kept         OutcomeName = "kept"
	Reverted     OutcomeName = "reverted"     // proven bad
	Inconclusive OutcomeName = "inconclusive" // put back, but nothing is proven
	NotStarted   OutcomeName = "not-started"  // refused before anything was touched; may be tried later
	NeedsReboot  OutcomeName = "needs-reboot" // cannot be tried live
	Stuck        OutcomeName = "stuck"        // the old system could not be put back
)

// Outcome is what became of a try.
type Outcome struct {
	Name       OutcomeName
	Attempt    Attempt
	Generation int
	Why        string
	// Strike says of an inconclusive try that the old system is well where the
	// new one was not, by a cause that may yet have been an accident. A second
	// one at another time is none.
	Strike bool
}

// Activator carries a try through its phases. One goroutine calls it.
type Activator struct {
	System  System
	Journal Journal
	Health  Health
	// Guard is how long a try may take before the guard reverts it.
	Guard time.Duration
	// SwitchTimeout is how long a switch may run.
	SwitchTimeout time.Duration
	// Poll is how often a running switch is asked after; 200 ms when zero.
	Poll time.Duration
	// Pause is between two attempts at the boot default; 5 s when zero.
	Pause time.Duration
	// Progress is told of each phase, after it is on disk; may be nil.
	Progress func(context.Context, Attempt)
}

var errFatal = errors.New("the journal could not be written")

// Try activates the candidate: it is tried, judged, and kept or put back. An
// error means that this process no longer knows the truth and must start again
// and call Resume.
func (a *Activator) Try(ctx context.Context, id string, c StorePath, keepDefault bool) (Outcome, error) {
	f, err := a.System.Facts(ctx)
	if err != nil {
		return Outcome{}, err
	}
	at := Attempt{ID: id, Phase: Prepared, Candidate: c, Prev: f.Running, PrevDefault: f.Default, BootID: f.BootID,
		Deadline: f.Now + a.Guard, KeepDefault: keepDefault}
	o := a.hindrance(ctx, &at)
	// Also what is not started is in the journal: whoever records how it ended
	// finds there what it was.
	if err := a.save(ctx, at); err != nil {
		return Outcome{}, err
	}
	if o.Name != "" {
		return a.end(at, o)
	}
	return a.run(ctx, at)
}

// hindrance takes the baseline, and says what keeps the attempt from being
// started; the zero Outcome when nothing does.
func (a *Activator) hindrance(ctx context.Context, at *Attempt) Outcome {
	why, err := onlyByReboot(at.Prev, at.Candidate)
	if err != nil {
		return Outcome{Name: NotStarted, Why: "whether a switch leads to it cannot be told: " + err.Error()}
	}
	if why != "" {
		return Outcome{Name: NeedsReboot, Why: "this system can only be reached by a reboot: " + why}
	}
	if at.Baseline, err = a.Health.Baseline(ctx); err != nil {
		return Outcome{Name: NotStarted, Why: "the baseline could not be taken: " + err.Error()}
	}
	return Outcome{}
}

// Resume finishes what an earlier process began. ok is false when nothing was
// under way.
func (a *Activator) Resume(ctx context.Context) (o Outcome, ok bool, err error) {
	at, ok, err := a.Journal.Load()
	if err != nil || !ok {
		return Outcome{}, false, err
	}
	f, err := a.System.Facts(ctx)
	if err != nil {
		return Outcome{}, true, err
	}
	why := ""
	switch {
	case !at.Phase.known():
		why = fmt.Sprintf("the journal holds the unknown phase %q", at.Phase)
	case at.Looping && at.Phase != Reverting && at.Phase != Judging:
		why = fmt.Sprintf("the try went in circles and was last in the phase %q", at.Phase)
	}
	switch {
	case why != "":
		at.Reason, at.Inconclusive = why, true
		at.Phase = Checking // the only phase from which both ends are legal
		if err := a.to(ctx, &at, Reverting); err != nil {
			return Outcome{}, true, err
		}
	case f.BootID != at.BootID:
		o, err = a.rebooted(ctx, at, f)
		return o, true, err
	case at.Phase == Prepared:
		o, err = a.end(at, Outcome{Name: NotStarted, Why: "the agent stopped before the switch"})
		return o, true, err
	case at.Phase == Armed:
		// The switch may have been started between the journal and the crash:
		// starting it again is no error, and its result tells.
	}
	o, err = a.run(ctx, at)
	return o, true, err
}

// rebooted ends a try that a reboot or power cut went through. The boot default
// was not touched before Committing, so the old system runs, unless the last
// step had been reached.
func (a *Activator) rebooted(ctx context.Context, at Attempt, f Facts) (Outcome, error) {
	switch {
	case at.Phase == Committing && f.Running == at.Candidate:
		at.BootID = f.BootID
		return a.commit(ctx, at)
	case f.Running == at.Prev || at.Phase == Committing:
		return a.end(at, Outcome{Name: Inconclusive, Why: "the machine rebooted during the phase " + string(at.Phase)})
	}
	return a.end(at, Outcome{Name: Inconclusive, Why: fmt.Sprintf("after a reboot %s runs", f.Running)})
}

func (a *Activator) save(ctx context.Context, at Attempt) error {
	if err := a.Journal.Save(at); err != nil {
		return fmt.Errorf("%w: %w", errFatal, err)
	}
	if a.Progress != nil {
		a.Progress(ctx, at)
	}
	return nil
}

// to moves to the next phase, on disk first.
func (a *Activator) to(ctx context.Context, at *Attempt, p Phase) error {
	if !at.Phase.mayBecome(p) {
		return fmt.Errorf("illegal move from %q to %q", at.Phase, p)
	}
	n := *at
	n.Phase = p
	if err := a.save(ctx, n); err != nil {
		return err
	}
	*at = n
	return nil
}

func (a *Activator) end(at Attempt, o Outcome) (Outcome, error) {
	if err := a.Journal.End(); err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", errFatal, err)
	}
	o.Attempt = at
	if o.Why == "" {
		o.Why = at.Reason
	}
	return o, nil
}

// run carries the attempt on from its phase. Each case can be entered by a
// process that knows nothing but the journal.
func (a *Activator) run(ctx context.Context, at Attempt) (Outcome, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Outcome{}, err
		}
		switch at.Phase {
		case Prepared:
			if err := a.to(ctx, &at, Armed); err != nil {
				return Outcome{}, err
			}
		case Armed:
			if err := a.arm(ctx, &at); err != nil {
				return Outcome{}, err
			}
		case Trying:
			o, over, err := a.wait(ctx, &at)
			if err != nil || over {
				return o, err
			}
		case Checking:
			if err := a.check(ctx, &at); err != nil {
				return Outcome{}, err
			}
		case Committing:
			return a.commit(ctx, at)
		case Reverting:
			if o, stuck, err := a.revert(ctx, &at); err != nil || stuck {
				return o, err
			}
		case Judging:
			return a.judge(ctx, at)
		default:
			return Outcome{}, fmt.Errorf("unknown phase %q", at.Phase)
		}
	}
}

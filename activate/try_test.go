package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine is a System that lives in memory and outlives the activator, as the
// real one outlives the agent. It breaks the promise for no one: a switch that
// was started ends, a decision that was made stands.
type machine struct {
	boot     string
	running  StorePath
	byDeflt  StorePath
	exits    map[StorePath]int // of switch-to-configuration test
	results  map[string]Result
	decision Decision
	armed    bool
	noLoader map[StorePath]int  // how often switch-to-configuration boot fails
	refuses  map[StorePath]bool // whether its pre-switch checks let nothing through
	killed   map[StorePath]int  // how often a switch to it is killed at its start
	// A switch that fails with 1 has stopped units before; a whole one ends that.
	cutsUnits, half bool
}

var errCut = errors.New("cut off here")

func newMachine() *machine {
	return &machine{boot: "b1", running: "old", byDeflt: "old", exits: map[StorePath]int{}, results: map[string]Result{}}
}

func (m *machine) Facts(context.Context) (Facts, error) {
	return Facts{Running: m.running, Default: m.byDeflt, BootID: m.boot, Now: time.Hour, HalfSwitched: m.half}, nil
}
func (m *machine) StartTest(_ context.Context, id string, p StorePath) error {
	if _, ok := m.results[id]; !ok && m.killed[p] > 0 {
		m.killed[p]--
		m.results[id] = Result{Done: true, Signal: "KILL"}
	} else if !ok {
		if e := m.exits[p]; e != 1 && e != 11 && e != 100 {
			m.running, m.half = p, false
		} else if e == 1 {
			m.half = m.cutsUnits
		}
		m.results[id] = Result{Done: true, Exit: m.exits[p]}
	}
	return nil
}
func (m *machine) StartBack(ctx context.Context, id string, p StorePath) error {
	return m.StartTest(ctx, id, p)
}
func (m *machine) Result(_ context.Context, id string) (Result, error) {
	if r, ok := m.results[id]; ok {
		return r, nil
	}
	return Result{Lost: true}, nil
}
func (m *machine) StopTest(context.Context, string) error { return nil }
func (m *machine) Arm(context.Context, Guard) error       { m.armed = true; return nil }
func (m *machine) Disarm(context.Context, string) error   { m.armed = false; return nil }
func (m *machine) SetProfile(_ context.Context, p StorePath) (int, error) {
	m.byDeflt = p
	return 2, nil
}
func (m *machine) Boot(ctx context.Context, id string, p StorePath) error {
	if m.refuses[p] {
		return errors.New("a pre-switch check says no")
	}
	return m.BootBack(ctx, id, p)
}
func (m *machine) BootBack(_ context.Context, _ string, p StorePath) error {
	if m.noLoader[p] == 0 {
		return nil
	}
	m.noLoader[p]--
	return errors.New("/boot is full")
}
func (m *machine) Decide(_ string, d Decision) (Decision, error) {
	if m.decision == "" {
		m.decision = d
	}
	return m.decision, nil
}

// powerCut boots what is the default, without the try's units.
func (m *machine) powerCut() {
	m.boot, m.running, m.armed, m.decision, m.results = m.boot+"+", m.byDeflt, false, "", map[string]Result{}
}

// journal is a Journal whose n-th Save is the last thing that its process does.
type journal struct {
	at    *Attempt
	saves int
	cut   int // after this many saves; 0 never
}

func (j *journal) Save(a Attempt) error {
	j.at, j.saves = &a, j.saves+1
	if j.saves == j.cut {
		return errCut
	}
	return nil
}
func (j *journal) Load() (Attempt, bool, error) {
	if j.at == nil {
		return Attempt{}, false, nil
	}
	return *j.at, true, nil
}
func (j *journal) End() error { j.at = nil; return nil }

type verdicts struct{ now, recheck Judgement }

func (verdicts) Baseline(context.Context) (json.RawMessage, error)  { return nil, nil }
func (v verdicts) Judge(context.Context, json.RawMessage) Judgement { return v.now }
func (v verdicts) Recheck(context.Context, json.RawMessage, json.RawMessage) Judgement {
	return v.recheck
}

var (
	report = json.RawMessage(`{}`)
	good   = verdicts{Judgement{Healthy: true}, Judgement{Healthy: true}}
	bad    = verdicts{Judgement{Why: "ill", Report: report}, Judgement{Healthy: true}}
)

func activator(m *machine, j *journal, h Health) *Activator {
	return &Activator{System: m, Journal: j, Health: h, Guard: time.Minute, SwitchTimeout: time.Second, Poll: time.Millisecond, Pause: time.Millisecond}
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		exit    int
		health  verdicts
		want    OutcomeName
		running StorePath
	}{
		"healthy":           {0, good, Kept, "new"},
		"a unit failed":     {4, good, Kept, "new"}, // health decides, not the exit status
		"ill":               {0, bad, Reverted, "old"},
		"ill on both":       {0, verdicts{Judgement{Why: "ill", Report: report}, Judgement{}}, Inconclusive, "old"},
		"nobody could say":  {0, verdicts{Judgement{Inconclusive: true}, Judgement{Healthy: true}}, Inconclusive, "old"},
		"activation failed": {2, good, Reverted, "old"},
		"died half way":     {255, good, Reverted, "old"},
		"refused":           {1, good, NotStarted, "old"},
		"somebody else":     {11, good, NotStarted, "old"},
		"needs a reboot":    {100, good, NeedsReboot, "old"},
	} {
		m, j := newMachine(), &journal{}
		m.exits["new"] = c.exit
		o, err := activator(m, j, c.health).Try(t.Context(), "1", "new", false)
		if err != nil || o.Name != c.want || m.running != c.running || m.armed || j.at != nil {
			t.Errorf("%s: %s %q, %v; runs %s, guard %v, journal %v", name, o.Name, o.Why, err, m.running, m.armed, j.at)
		}
		if (m.byDeflt == "new") != (c.want == Kept) {
			t.Errorf("%s: boots %s", name, m.byDeflt)
		}
	}
}

// A refusal that touched nothing is told from a switch that could not go on, though
// the exit status and the system that runs are the same.
func TestHalfSwitched(t *testing.T) {
	m, j := newMachine(), &journal{}
	m.exits["new"], m.cutsUnits = 1, true
	o, err := activator(m, j, good).Try(t.Context(), "1", "new", false)
	if err != nil || o.Name != Inconclusive || m.running != "old" || m.half {
		t.Errorf("%s %q, %v; runs %s, half switched %v", o.Name, o.Why, err, m.running, m.half)
	}
}

// What no switch leads to is not started, and is in the journal until it is told of.
func TestOnlyByReboot(t *testing.T) {
	for name, c := range map[string]struct {
		old, new map[string]string
		want     OutcomeName
		why      string
	}{
		"init":       {map[string]string{"init-interface-version": "systemd 1"}, map[string]string{"init-interface-version": "systemd 2"}, NeedsReboot, `from "systemd 1" to "systemd 2"`},
		"same init":  {map[string]string{"init-interface-version": "systemd 1"}, map[string]string{"init-interface-version": "systemd 1"}, Kept, ""},
		"inhibitors": {map[string]string{"switch-inhibitors": `{"a":"1","b":"1","c":"1"}`}, map[string]string{"switch-inhibitors": `{"c":"2","b":"1","a":"2"}`}, NeedsReboot, `a ("2", was "1"), c ("2", was "1")`},
		"new ones":   {map[string]string{"switch-inhibitors": `{"a":"1"}`}, map[string]string{"switch-inhibitors": `{"b":"1"}`}, Kept, ""},
		"none":       {nil, map[string]string{"switch-inhibitors": `{"b":"1"}`}, Kept, ""},
		"damaged":    {nil, map[string]string{"switch-inhibitors": `{`}, NotStarted, "switch-inhibitors: "},
	} {
		dir := t.TempDir()
		for side, files := range map[string]map[string]string{"old": c.old, "new": c.new} {
			for file, text := range files {
				path := filepath.Join(dir, side, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		m, j := newMachine(), &journal{}
		m.running, m.byDeflt = StorePath(filepath.Join(dir, "old")), "old"
		o, err := activator(m, j, good).Try(t.Context(), "1", StorePath(filepath.Join(dir, "new")), false)
		if err != nil || o.Name != c.want || !strings.Contains(o.Why, c.why) || j.saves == 0 || j.at != nil {
			t.Errorf("%s: %s %q, %v; %d saves", name, o.Name, o.Why, err, j.saves)
		}
		if c.want != Kept && len(m.results) > 0 {
			t.Errorf("%s: it was started", name)
		}
	}
}

// Wherever the process dies, with the machine running on or losing power, the
// next one ends the try: in the new system proven healthy or in the old one, with
// the boot default the same and nothing left armed.
func TestCutAtEveryPhase(t *testing.T) {
	for name, h := range map[string]verdicts{"good": good, "bad": bad} {
		for _, power := range []bool{false, true} {
			for cut := 1; cut <= 8; cut++ {
				t.Run(fmt.Sprintf("%s/power=%v/%d", name, power, cut), func(t *testing.T) {
					m, j := newMachine(), &journal{cut: cut}
					_, err := activator(m, j, h).Try(t.Context(), "1", "new", false)
					if err == nil {
						return // this try takes fewer steps
					}
					if !errors.Is(err, errCut) {
						t.Fatal(err)
					}
					if power {
						m.powerCut()
					}
					j.cut = 0
					o, ok, err := activator(m, j, h).Resume(t.Context())
					if !ok || err != nil {
						t.Fatalf("resume: %v %v", ok, err)
					}
					if m.armed || j.at != nil || m.running != m.byDeflt {
						t.Errorf("%s: runs %s, boots %s, guard %v", o.Name, m.running, m.byDeflt, m.armed)
					}
					if name == "bad" && (m.running != "old" || o.Name == Kept) {
						t.Errorf("the bad system is %s, %s runs", o.Name, m.running)
					}
					if power && o.Name == Reverted {
						t.Error("a power cut was held against the system")
					}
				})
			}
		}
	}
}

func TestUnknownPhaseReverts(t *testing.T) {
	m := newMachine()
	m.running = "new"
	j := &journal{at: &Attempt{ID: "1", Phase: "from-the-future", Candidate: "new", Prev: "old", BootID: m.boot}}
	o, _, err := activator(m, j, good).Resume(t.Context())
	if err != nil || m.running != "old" || o.Name != Inconclusive {
		t.Errorf("%s, %v; %s runs", o.Name, err, m.running)
	}
}

// A boot loader that cannot be written must not keep the node from pulling the
// fix: after some attempts the old system is put back, boot default and all.
func TestBootLoaderCannotBeWritten(t *testing.T) {
	for fails, want := range map[int]OutcomeName{2: Kept, 1000: Inconclusive} {
		m, j := newMachine(), &journal{}
		m.noLoader, m.refuses = map[StorePath]int{"new": fails}, map[StorePath]bool{"old": true}
		o, err := activator(m, j, good).Try(t.Context(), "1", "new", false)
		if err != nil || o.Name != want || m.running != m.byDeflt || (m.running == "new") != (want == Kept) {
			t.Errorf("%d failures: %s %q %v; runs %s, boots %s", fails, o.Name, o.Why, err, m.running, m.byDeflt)
		}
	}
}

func TestLoopingTryIsPutBack(t *testing.T) {
	m := newMachine()
	m.running = "new"
	j := &journal{at: &Attempt{ID: "1", Phase: Checking, Candidate: "new", Prev: "old", BootID: m.boot, Looping: true}}
	o, _, err := activator(m, j, good).Resume(t.Context())
	if err != nil || m.running != "old" || o.Name != Inconclusive {
		t.Errorf("%s, %v; %s runs", o.Name, err, m.running)
	}
}

// The guard was first: the agent follows, even with a healthy system.
func TestGuardWins(t *testing.T) {
	m, j := newMachine(), &journal{}
	m.decision = Revert
	o, err := activator(m, j, good).Try(t.Context(), "1", "new", false)
	if err != nil || o.Name != Inconclusive || m.running != "old" || m.byDeflt != "old" {
		t.Errorf("%s %v; runs %s, boots %s", o.Name, err, m.running, m.byDeflt)
	}
}

// Of many who decide at once exactly one decides, and all learn the same.
func TestDecisionRace(t *testing.T) {
	dir := t.TempDir()
	for i := range 1000 {
		id := fmt.Sprint(i)
		got := make(chan Decision, 2)
		for _, d := range []Decision{Confirm, Revert} {
			go func() {
				g, err := Decide(dir, id, d)
				if err != nil {
					t.Error(err)
				}
				got <- g
			}()
		}
		if a, b := <-got, <-got; a != b || a == "" {
			t.Fatalf("%d: %q and %q", i, a, b)
		}
	}
}

// A switch back that something ends is made again.
func TestRevertIsKilled(t *testing.T) {
	for kills, want := range map[int]OutcomeName{1: Reverted, 2: Reverted, 3: Stuck} {
		m, j := newMachine(), &journal{}
		m.killed = map[StorePath]int{"old": kills}
		o, err := activator(m, j, bad).Try(t.Context(), "1", "new", false)
		if err != nil || o.Name != want {
			t.Errorf("killed %d times: %s (%s), %v, want %s", kills, o.Name, o.Why, err, want)
		}
		if want == Reverted && m.running != "old" {
			t.Errorf("killed %d times: %s runs", kills, m.running)
		}
	}
}

// Nobody who resumes a commit makes a system the default that does not run.
func TestCommitsOnlyWhatRuns(t *testing.T) {
	m, j := newMachine(), &journal{cut: 5}
	if _, err := activator(m, j, good).Try(t.Context(), "1", "new", false); !errors.Is(err, errCut) || j.at.Phase != Committing {
		t.Fatalf("%v in %+v", err, j.at)
	}
	m.running = "third"
	o, ok, err := activator(m, j, good).Resume(t.Context())
	if err != nil || !ok || o.Name != Inconclusive || m.byDeflt != "old" || m.running != "old" {
		t.Errorf("%s (%s), %v; %s runs, %s boots", o.Name, o.Why, err, m.running, m.byDeflt)
	}
}

// Package state keeps what the agent must not forget: what it trusts, what it
// deployed and what it is in the middle of.
//
// Everything is files under one directory, so that status and history work with
// the agent dead, and every write survives a power cut: state.json and its
// previous generation state.json.prev, and outside of /var the trust floor, a
// projection that survives a wiped or tmpfs /var. Store is the only writer and
// holds a lock; Peek and ReadHistory read without one and change nothing.
//
// The package is a leaf: what other packages decide is stored here as plain
// strings and raw JSON, so that a file written today is readable by an agent
// whose types have moved on.
package state

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"time"
)

// LoopLimit is how many journal writes an attempt may take. One that needs more
// goes in circles (the longest regular path stores 11 phases).
const LoopLimit = 28

// State is everything that survives a restart of the agent.
type State struct {
	// Schema is the version of the file that this was read from, Counter the
	// number of its write. Store sets both; what a caller puts there is ignored.
	Schema  int    `json:"-"`
	Counter uint64 `json:"-"`

	Request  uint64   `json:"request,omitempty"`  // of the last Want; only rises
	Trusted  Trusted  `json:"trusted,omitzero"`   // T
	KnownTip string   `json:"knownTip,omitempty"` // the tip that was judged last
	Verdict  Verdict  `json:"verdict,omitzero"`   // of KnownTip
	Deployed Deployed `json:"deployed,omitzero"`  // the last that was proven healthy
	// Attempt is the write-ahead journal of a try; nil when none is under way.
	Attempt *Attempt `json:"attempt,omitempty"`
	// Origins says which commit produced a toplevel that is still rooted. Part
	// of the floor: it is what a node needs after it booted an older system.
	Origins map[string]Origin `json:"origins,omitempty"`

	// Quarantine and Inconclusive are keyed on the toplevel, so a commit that
	// gives the same system shares the fate of the first.
	Quarantine   map[string]Quarantined  `json:"quarantine,omitempty"`
	Inconclusive map[string]Inconclusive `json:"inconclusive,omitempty"`

	Hold *Hold `json:"hold,omitempty"`
	// Suspended holds until resume; SuspendedUntil until that time.
	Suspended      bool       `json:"suspended,omitempty"`
	SuspendedUntil *time.Time `json:"suspendedUntil,omitempty"`

	Stores     int             `json:"stores,omitempty"` // journal writes of Attempt; Store counts
	LastReport json.RawMessage `json:"lastReport,omitempty"`
	Failure    Failure         `json:"failure,omitzero"`
}

// Looping says that the attempt was stored more often than any way through the
// phases needs.
func (s State) Looping() bool { return s.Stores > LoopLimit }

// Trusted is T: the commit up to which history was authenticated.
type Trusted struct {
	Commit string `json:"commit,omitempty"`
	// Digest is the hex SHA-256 of the commit's signed payload: a signed commit
	// can be re-encoded under another id, its payload cannot.
	Digest   string            `json:"digest,omitempty"`
	Policy   map[string][]byte `json:"policy,omitempty"`  // the files in force, by path below .pullnode
	Parents  []string          `json:"parents,omitempty"` // of Commit, to find a twin of it
	ResetSeq uint64            `json:"resetSeq,omitempty"`
	Signer   string            `json:"signer,omitempty"`
	// Named says that root has named Commit, which nobody has looked at yet: the
	// rest is not there before a tip that descends from it was judged.
	Named bool `json:"named,omitempty"`
}

// Equal says whether both are the same trust.
func (t Trusted) Equal(u Trusted) bool {
	return t.Commit == u.Commit && t.Digest == u.Digest && t.ResetSeq == u.ResetSeq &&
		t.Signer == u.Signer && t.Named == u.Named && maps.EqualFunc(t.Policy, u.Policy, slices.Equal)
}

// Verdict is what was decided on a tip, with the command that would fix it.
type Verdict struct {
	Name   string    `json:"name"` // DEPLOY, UP-TO-DATE, PENDING, ...
	Commit string    `json:"commit,omitempty"`
	Text   string    `json:"text,omitempty"`
	Hint   string    `json:"hint,omitempty"`
	When   time.Time `json:"when,omitzero"`
}

// Deployed is a system that was proven healthy and committed.
type Deployed struct {
	Commit     string    `json:"commit,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Toplevel   string    `json:"toplevel,omitempty"`
	Generation int       `json:"generation,omitempty"`
	When       time.Time `json:"when,omitzero"`
}

// Attempt is the journal of one try, stored before every step that cannot be
// taken back.
type Attempt struct {
	ID          string `json:"id"`
	Phase       string `json:"phase"`
	Commit      string `json:"commit,omitempty"`
	Digest      string `json:"digest,omitempty"`
	Subject     string `json:"subject,omitempty"`
	Signer      string `json:"signer,omitempty"`
	Candidate   string `json:"candidate,omitempty"`   // toplevel that is tried
	Prev        string `json:"prev,omitempty"`        // toplevel that ran before
	PrevDefault string `json:"prevDefault,omitempty"` // toplevel that was the boot default
	// BootID is the boot in which Deadline, nanoseconds of CLOCK_BOOTTIME,
	// counts: the wall clock may jump while a try runs.
	BootID   string          `json:"bootID,omitempty"`
	Deadline int64           `json:"deadline,omitempty"`
	Baseline json.RawMessage `json:"baseline,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	// Inconclusive says that Reason proves nothing against the candidate.
	Inconclusive bool `json:"inconclusive,omitempty"`
	// Report is what health found, for whoever asks again on the old system.
	Report      json.RawMessage `json:"report,omitempty"`
	KeepDefault bool            `json:"keepDefault,omitempty"` // never make it the boot default
	Started     time.Time       `json:"started,omitzero"`
}

// Origin names the commit that produced a toplevel.
type Origin struct {
	Commit string `json:"commit"`
	Digest string `json:"digest,omitempty"`
}

// Quarantined says why a toplevel is not tried again.
type Quarantined struct {
	Reason   string    `json:"reason"`
	Evidence string    `json:"evidence,omitempty"`
	Commit   string    `json:"commit,omitempty"`
	When     time.Time `json:"when,omitzero"`
	Tries    int       `json:"tries,omitempty"`
}

// Inconclusive counts tries of a toplevel that proved nothing.
type Inconclusive struct {
	Reason string    `json:"reason"`
	Commit string    `json:"commit,omitempty"`
	When   time.Time `json:"when,omitzero"`
	Next   time.Time `json:"next,omitzero"` // not tried before
	Tries  int       `json:"tries,omitempty"`
	// Strikes are the tries after which the old system was well where this one
	// was not: the second proves it bad.
	Strikes int `json:"strikes,omitempty"`
}

// Hold keeps the node on Toplevel until somebody says otherwise.
type Hold struct {
	Why      string    `json:"why"`
	Since    time.Time `json:"since,omitzero"`
	Toplevel string    `json:"toplevel,omitempty"`
}

// Failure is the last error of the loop that has not been overcome.
type Failure struct {
	Class string    `json:"class,omitempty"`
	Text  string    `json:"text,omitempty"`
	Hint  string    `json:"hint,omitempty"`
	Count int       `json:"count,omitempty"`
	Next  time.Time `json:"next,omitzero"` // when it is tried again
}

// clone gives a deep copy. JSON does it: what does not survive that would not
// survive a restart either.
func (s State) clone() (State, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return State{}, err
	}
	c := State{Schema: s.Schema, Counter: s.Counter}
	return c, json.Unmarshal(raw, &c)
}

func (s State) sameFloor(o State) bool {
	return s.Trusted.Equal(o.Trusted) && maps.Equal(s.Origins, o.Origins)
}

func (s State) sameAttempt(o State) bool { return reflect.DeepEqual(s.Attempt, o.Attempt) }

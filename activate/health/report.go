package health

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what a try came to.
type Verdict string

// The verdicts. Inconclusive proves neither: go back, but do not hold it against
// the system.
const (
	Healthy      Verdict = "healthy"
	Unhealthy    Verdict = "unhealthy"
	Inconclusive Verdict = "inconclusive"
)

// Report is the verdict with its evidence.
type Report struct {
	Verdict     Verdict           `json:"verdict"`
	Text        string            `json:"text"`             // one line
	Checks      []Result          `json:"checks,omitempty"` // of the last round
	FailedUnits []string          `json:"failedUnits,omitempty"`
	OtherFailed []string          `json:"otherFailed,omitempty"` // newly failed, but not touched by the switch
	Restarts    map[string]uint32 `json:"restarts,omitempty"`    // over what is allowed
	Lifeline    string            `json:"lifeline,omitempty"`    // why it failed
	Resumed     int               `json:"resumed,omitempty"`     // suspends that restarted the window
	Took        time.Duration     `json:"took"`                  // nanoseconds
}

// Suspects gives the names of the checks that made the report unhealthy.
func (r Report) Suspects() (names []string) {
	for _, c := range r.Checks {
		if c.Counts && (c.State == Failed || c.State == NotYet) {
			names = append(names, c.Name)
		}
	}
	return names
}

// Recheck is called after the old system was put back: after holds the answers
// there of those suspects that it has too, failed the units that have failed
// there. What is as bad on the old system was not broken by the new one. An
// unhealthy report of which nothing is left becomes inconclusive; other reports
// stay as they are.
func (r Report) Recheck(after []Result, failed []string) Report {
	if r.Verdict != Unhealthy || len(r.Restarts) > 0 {
		return r
	}
	for _, u := range r.FailedUnits {
		if !slices.Contains(failed, u) {
			return r
		}
	}
	suspects := r.Suspects()
	if len(suspects)+len(r.FailedUnits) == 0 {
		return r // convicted by what cannot be asked again
	}
	for _, name := range suspects {
		i := slices.IndexFunc(after, func(a Result) bool { return a.Name == name })
		if i < 0 || after[i].State == OK {
			return r // well there, or a check that only the new system has
		}
	}
	r.Verdict = Inconclusive
	r.Text = "still bad after going back, so the new system is not to blame: " + r.Text
	return r
}

// describe gives the line for what is bad now.
func (r Report) describe() string {
	var parts []string
	for _, c := range r.Checks {
		if c.Counts && c.State != OK {
			parts = append(parts, fmt.Sprintf("check %s %s: %s", c.Name, c.State, c.Text))
		}
	}
	if len(r.FailedUnits) > 0 {
		parts = append(parts, "failed units: "+strings.Join(r.FailedUnits, ", "))
	}
	for u, n := range r.Restarts {
		parts = append(parts, fmt.Sprintf("%s was restarted %d times", u, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

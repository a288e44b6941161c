package sync

// VerdictName is the outcome of judging a tip. Each names the commit at fault
// and, in Hint, the one command that would put it right.
type VerdictName string

// The verdicts. Only Deploy and UpToDate let a commit run.
const (
	Deploy     VerdictName = "DEPLOY"
	UpToDate   VerdictName = "UP-TO-DATE"
	Pending    VerdictName = "PENDING" // waits for more signatures
	Rollback   VerdictName = "ROLLBACK"
	Fork       VerdictName = "FORK"
	Unsigned   VerdictName = "UNSIGNED"
	UnknownKey VerdictName = "UNKNOWN-KEY"
	Malformed  VerdictName = "MALFORMED"
	PolicyBad  VerdictName = "POLICY"
	Limit      VerdictName = "LIMIT"
)

// Step is one check that led to a verdict, as pullnode verify prints it.
type Step struct {
	OK   bool   `json:"ok"`
	What string `json:"what"`
	Fact string `json:"fact,omitempty"`
}

// Verdict is what became of a tip and why.
type Verdict struct {
	Name    VerdictName `json:"verdict"`
	Tip     ID          `json:"tip"`
	Trusted ID          `json:"trusted"`
	Commit  ID          `json:"commit"`            // the one at fault, or the tip
	Subject string      `json:"subject,omitempty"` // of Commit
	Signer  string      `json:"signer,omitempty"`  // of the tip
	Reason  string      `json:"reason"`
	Hint    string      `json:"hint,omitempty"`
	Steps   []Step      `json:"steps,omitempty"`
}

// Waits says that more signatures are all that the tip lacks.
func (v Verdict) Waits() bool { return v.Name == Pending }

// Refused says whether the verdict keeps the tip from running.
func (v Verdict) Refused() bool { return v.Name != Deploy && v.Name != UpToDate }

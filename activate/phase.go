package activate

// Phase is how far a try has come. It is stored before the step that it names,
// so that whoever finds it knows what may have happened.
type Phase string

// The phases of a try, in order.
const (
	Prepared   Phase = "prepared"   // candidate is built, nothing was touched
	Armed      Phase = "armed"      // the guard counts
	Trying     Phase = "trying"     // switch-to-configuration test runs or ran
	Checking   Phase = "checking"   // health decides
	Committing Phase = "committing" // proven healthy; becomes the boot default
	Reverting  Phase = "reverting"  // the old system is put back
	Judging    Phase = "judging"    // the old system runs: was the new one really bad?
	Over       Phase = ""           // no try is under way
)

// next is every legal move. An agent that finds a phase which is not here, from
// a newer or a damaged journal, reverts.
var next = map[Phase][]Phase{
	Over:       {Prepared},
	Prepared:   {Armed, Over},
	Armed:      {Trying, Over},
	Trying:     {Checking, Reverting, Over},
	Checking:   {Committing, Reverting},
	Committing: {Over, Reverting},
	Reverting:  {Judging},
	Judging:    {Over},
}

func (p Phase) known() bool { _, ok := next[p]; return ok }

func (p Phase) mayBecome(q Phase) bool {
	for _, n := range next[p] {
		if n == q {
			return true
		}
	}
	return false
}

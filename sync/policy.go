package sync

import (
	"errors"
	"fmt"
)

// Trusted is T: the last commit that this node accepted. It is found again by
// id or, because a signature can be re-encoded, by the digest of its payload.
type Trusted struct {
	Commit  ID                `json:"commit"`
	Parents []ID              `json:"parents,omitempty"`
	Digest  Digest            `json:"digest"`
	Policy  map[string][]byte `json:"policy"` // the policy files in force, by path
	// ResetSeq is the highest number of a reset that was followed or passed by.
	ResetSeq uint64 `json:"resetSeq,omitempty"`
}

// Policy decides which commits may run. It is the only maker of Verified.
//
// The rule: the tip descends from T by first parents. Every new commit is signed
// by somebody whom the policy in force lists, or is vouched for by a later one
// that is. The policy in force changes only by the quorum of the one before it.
// The tip itself needs the quorum that the policy in force before it asks for on
// this host. A history that does not descend needs a reset.
type Policy struct {
	Introduction Introduction
	Trusted      *Trusted      // nil until a first commit was accepted
	Ancestors    func(ID) bool // is this an ancestor of T? nil where unknown
	Revoked      []string      // fingerprints that the node's own settings refuse
	Host         string        // whose deploy rule decides; none does when empty
	Recovery     string        // fingerprint of the key that may reset alone; may be empty

	// lenient takes a tip that waits for signatures or has a bad policy, with
	// what is in force instead: it was accepted before, by somebody else's word.
	lenient bool
}

// Accepted gives a policy that judges the commit which somebody says was accepted
// before, to find out what is in force with it.
func (p Policy) Accepted() Policy {
	p.Host, p.lenient = "", true
	return p
}

// Verified is a tip that a Policy accepted, together with the bytes it stands
// for. The zero Verified is refused by Export.
type Verified struct {
	commit    *Commit
	signer    string
	policy    map[string][]byte
	stream    *Stream
	ancestors []ID
	resetSeq  uint64
}

// Commit gives the accepted commit.
func (v Verified) Commit() *Commit { return v.commit }

// Signer gives the principal who signed the tip.
func (v Verified) Signer() string { return v.signer }

// Trusted gives what the node must remember once this commit is its T.
func (v Verified) Trusted() Trusted {
	return Trusted{Commit: v.commit.ID, Parents: v.commit.Parents, Digest: v.commit.Digest, Policy: v.policy, ResetSeq: v.resetSeq}
}

// NewAncestors gives the commits that become ancestors of T when this tip does,
// beside those that are already.
func (v Verified) NewAncestors() []ID { return v.ancestors }

// judge is one run of the rule.
type judge struct {
	Policy
	s     *Stream
	steps []Step
	sigs  map[ID]Signature
	fails map[failed]vain
	at    map[ID]int // where a new commit is in the order of the stream
	read  policyRead
}

// refusal carries a verdict through the error return.
type refusal struct{ Verdict }

func (r *refusal) Error() string { return r.Reason }

func (j *judge) refuse(name VerdictName, c *Commit, hint, format string, args ...any) error {
	v := Verdict{Name: name, Hint: hint, Reason: fmt.Sprintf(format, args...)}
	if c != nil {
		v.Commit, v.Subject = c.ID, c.Subject()
	}
	return &refusal{v}
}

// Judge walks the stream and says what may happen with its tip. Verified is set
// only with Deploy and UpToDate.
func (p Policy) Judge(s *Stream) (Verified, Verdict) {
	j := &judge{Policy: p, s: s, sigs: map[ID]Signature{}, fails: map[failed]vain{}, at: map[ID]int{}}
	for i, id := range s.order {
		j.at[id] = i
	}
	v, err := j.run()
	if err == nil && v.commit.ID != j.root() {
		err = s.exportable(v.commit)
	}
	verdict := Verdict{Name: Deploy, Tip: ID(s.Header.Tip), Trusted: j.root(), Commit: ID(s.Header.Tip)}
	var r *refusal
	var bad *streamError
	switch {
	case errors.As(err, &r):
		r.Tip, r.Trusted = verdict.Tip, verdict.Trusted
		if r.Commit == "" {
			r.Commit = verdict.Tip
		}
		verdict = r.Verdict
	case errors.As(err, &bad):
		verdict.Name, verdict.Reason = bad.verdict, bad.text
		if bad.commit != "" {
			verdict.Commit = bad.commit
		}
	case err != nil:
		verdict.Name, verdict.Reason = Malformed, err.Error()
	default:
		verdict.Subject, verdict.Signer = v.commit.Subject(), v.signer
		if v.commit.ID == verdict.Trusted || (p.Trusted != nil && v.commit.Digest == p.Trusted.Digest) {
			verdict.Name = UpToDate
		}
	}
	verdict.Steps = j.steps
	if verdict.Refused() {
		return Verified{}, verdict
	}
	return v, verdict
}

// StreamVerdict turns an error of StreamReader.Read into the verdict about it;
// ok is false when the error is not the stream's fault.
func StreamVerdict(err error) (v Verdict, ok bool) {
	var bad *streamError
	if !errors.As(err, &bad) {
		return Verdict{}, false
	}
	return Verdict{Name: bad.verdict, Commit: bad.commit, Reason: bad.text, Hint: "look at the repository with another client; the server may be damaged or hostile"}, true
}

func (j *judge) root() ID {
	if j.Trusted != nil {
		return j.Trusted.Commit
	}
	return j.Introduction.Commit
}

func (j *judge) pass(what, fact string) { j.steps = append(j.steps, Step{true, what, fact}) }

func (j *judge) run() (Verified, error) {
	v, err := j.descend()
	var r *refusal
	if !errors.As(err, &r) || r.Name == Rollback {
		return v, err
	}
	// Not for forks alone: once all keys are lost, what lists new ones descends
	// from T and is signed by nobody who counts.
	v, asked, failed := j.reset()
	var waits *refusal
	if asked && (failed == nil || r.Name == Fork || errors.As(failed, &waits) && waits.Waits()) {
		return v, failed
	}
	return Verified{}, err
}

// descend is the rule for a tip that descends from T.
func (j *judge) descend() (Verified, error) {
	line, base, err := j.firstParents(ID(j.s.Header.Tip))
	if err != nil {
		return Verified{}, err
	}
	rules, err := j.startPolicy(base)
	if err != nil {
		return Verified{}, err
	}
	j.pass("descends from "+base.ID.Short(), fmt.Sprintf("%d new on the first-parent line", len(line)))
	return j.chain(base, line, rules)
}

// inT says whether a commit is T or below it.
func (j *judge) inT(id ID) bool { return id == j.root() || j.Ancestors != nil && j.Ancestors(id) }

// firstParents walks from the tip to T and gives the commits in between, oldest
// first, and T itself as it stands in this history.
func (j *judge) firstParents(tip ID) (line []*Commit, base *Commit, err error) {
	if j.Ancestors != nil && tip != j.root() && j.Ancestors(tip) {
		return nil, nil, &refusal{Verdict{Name: Rollback, Commit: tip,
			Reason: fmt.Sprintf("the branch was rewound: %s is an ancestor of %s, which this node already accepted", tip.Short(), j.root().Short()),
			Hint:   "to go back, sign a commit on top that reverts: git revert -S " + tip.Short() + "..HEAD"}}
	}
	for id := tip; ; {
		c, ok := j.s.commits[id]
		if !ok {
			break
		}
		if id == j.root() || (j.Trusted != nil && c.Digest != "" && c.Digest == j.Trusted.Digest) {
			for a, b := 0, len(line)-1; a < b; a, b = a+1, b-1 {
				line[a], line[b] = line[b], line[a]
			}
			return line, c, nil
		}
		line = append(line, c)
		if len(c.Parents) == 0 {
			break
		}
		id = c.Parents[0]
	}
	hint := "put the old line back: git push --force-with-lease; if history was rewritten on purpose: pullnode reset"
	if j.viaMerge(tip) {
		hint = "git pull made a merge with your side first: redo it with git pull --rebase"
	}
	at := j.s.commits[tip]
	return nil, nil, j.refuse(Fork, at, hint, "%s does not descend from %s, which this node %s", tip.Short(), j.root().Short(), j.rootIs())
}

func (j *judge) rootIs() string {
	if j.Trusted == nil {
		return "was introduced to"
	}
	return "already accepted"
}

// viaMerge says whether T is in the tip's history after all, behind a second
// parent.
func (j *judge) viaMerge(tip ID) bool {
	_, ok := j.s.commits[j.root()]
	return ok && j.s.hasT && tip != j.root()
}

// startPolicy gives the rules in force at T.
func (j *judge) startPolicy(base *Commit) (*Rules, error) {
	if j.Trusted != nil {
		r, err := ParseRules(j.Trusted.Policy)
		if err != nil {
			return nil, j.refuse(PolicyBad, base, "", "the policy that this node trusts: %v", err)
		}
		return r, nil
	}
	files, err := j.policy(base)
	if err != nil {
		return nil, j.refuse(PolicyBad, base, "", "%v", err)
	}
	rules, err := ParseRules(files)
	if err != nil {
		return nil, j.refuse(PolicyBad, base, "put it right and introduce that commit", "the introduction %s: %v", base.ID.Short(), err)
	}
	sig, err := j.signature(base, rules.Signers)
	if err != nil {
		return nil, err
	}
	if sig.Fingerprint != j.Introduction.Fingerprint && !j.Introduction.named {
		return nil, j.refuse(UnknownKey, base, "compare with what pullnode init printed",
			"the introduction %s is signed by %s, but the settings say %s", base.ID.Short(), sig.Fingerprint, j.Introduction.Fingerprint)
	}
	j.pass("introduction "+base.ID.Short(), sig.Fingerprint)
	return rules, nil
}

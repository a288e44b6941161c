package sync

import (
	"errors"
	"slices"
	"strings"
)

// failed is a signature that was checked in vain: with these keys, or where they
// make no difference with none.
type failed struct {
	id   ID
	keys *Signers
}

type vain struct {
	sig Signature
	err error
}

// signature gives what the signature of c proves; keys brings what a format
// cannot find in the signature itself.
func (j *judge) signature(c *Commit, keys *Signers) (Signature, error) {
	s, err := j.check(c, keys)
	switch {
	case errors.Is(err, errUnsigned):
		return s, j.refuse(Unsigned, c, vouchHint(c, "", "sign it: git commit --amend --no-edit -S && git push --force-with-lease"),
			"commit %s (%q) by %s is not signed", c.ID.Short(), c.Subject(), c.Author)
	case errors.Is(err, errNoKey):
		return s, j.unknown(c, s.Fingerprint, keys)
	case err != nil:
		return s, j.refuse(Malformed, c, "sign it anew: git commit --amend --no-edit -S && git push --force-with-lease",
			"commit %s (%q): %v", c.ID.Short(), c.Subject(), err)
	}
	return s, nil
}

// check verifies a signature once, however often it is asked about: a server may
// send many that are bad.
func (j *judge) check(c *Commit, keys *Signers) (Signature, error) {
	if s, ok := j.sigs[c.ID]; ok {
		return s, nil
	}
	f := failed{c.ID, keys}
	if strings.HasPrefix(c.signature, sshBegin) {
		f.keys = nil
	}
	if v, ok := j.fails[f]; ok {
		return v.sig, v.err
	}
	s, err := c.verify(keys)
	if err != nil {
		j.fails[f] = vain{s, err}
		return s, err
	}
	j.sigs[c.ID] = s
	return s, nil
}

// owner gives the listed signer of c. It is signedBy without the reason.
func (j *judge) owner(c *Commit, signers *Signers) (string, bool) {
	sig, err := j.check(c, signers)
	if err != nil || j.revoked(sig) {
		return "", false
	}
	return signers.Who(sig.Fingerprint)
}

// vouchHint is what to do about a commit that a forge made itself, as it says or
// as the key says that it claims; neither proves it.
func vouchHint(c *Commit, fingerprint, otherwise string) string {
	if c.byForge() || isForgeKey(fingerprint) {
		return "vouch for what the forge merged: pullnode endorse main --onto deploy --push"
	}
	return otherwise
}

func (j *judge) unknown(c *Commit, fingerprint string, keys *Signers) error {
	return j.refuse(UnknownKey, c, vouchHint(c, fingerprint, "trusted: "+strings.Join(keys.List(), ", ")),
		"commit %s (%q) is signed by %s, which this node does not trust", c.ID.Short(), c.Subject(), fingerprint)
}

// signedBy checks that a listed key signed c and gives its owner.
func (j *judge) signedBy(c *Commit, signers *Signers) (string, error) {
	sig, err := j.signature(c, signers)
	if err != nil {
		return "", err
	}
	if j.revoked(sig) {
		return "", j.refuse(UnknownKey, c, "sign with another key", "commit %s is signed by %s, which this node's revokedKeys names", c.ID.Short(), sig.Fingerprint)
	}
	who, ok := signers.Who(sig.Fingerprint)
	if !ok {
		return "", j.unknown(c, sig.Fingerprint, signers)
	}
	return who, nil
}

func (j *judge) revoked(sig Signature) bool { return slices.Contains(j.Revoked, sig.Fingerprint) }

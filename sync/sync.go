// Package sync decides which commits may run on this node.
//
// It reads the object stream that an unprivileged process fetched, hashes every
// object itself, parses commits and trees from their raw bytes, checks the
// signatures and judges the chain from the trusted commit to the tip. What it
// hands out as Verified has passed all of that; there is no other way to make
// one, so an unverified commit cannot be built: it does not compile.
//
// It opens no connection, knows no pack, ref or index, and neither builds nor
// switches anything. Package sync/fetch talks to servers.
//
// The name collides with the standard library's sync. Inside this package
// import "sync" works as usual; a file elsewhere that needs both writes
// stdsync "sync".
package sync

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/pjbgf/sha1cd"
)

// ID is an object's SHA-1 as 40 lower-case hexadecimal digits.
type ID string

// ParseID accepts exactly a full object id.
func ParseID(s string) (ID, error) {
	if !isID(s) {
		return "", fmt.Errorf("%.80q is not a full commit id (40 hexadecimal digits)", s)
	}
	return ID(s), nil
}

func isID(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// Short gives the first 7 digits, as git prints them.
func (id ID) Short() string { return string(id[:min(7, len(id))]) }

// Digest identifies what a signer signed: the SHA-256 of a commit's signed
// payload, in hexadecimal. A signed commit has many possible ids (the signature
// can be re-encoded by anybody) but only one payload, so what the node
// remembers is this.
type Digest string

func digestOf(payload []byte) Digest {
	sum := sha256.Sum256(payload)
	return Digest(hex.EncodeToString(sum[:]))
}

// Introduction is where trust in a repository begins: a commit that the
// operator named on the node, and the fingerprint of the key that must have
// signed it. It is Guix's channel introduction.
type Introduction struct {
	Commit      ID
	Fingerprint string // "SHA256:" and 43 characters of base64
	named       bool   // any key may have signed it, see Named
}

// Named is where trust begins anew because root on this node has named that very
// commit: its id alone pins what it is, so it may be signed by any key.
func Named(commit ID) Introduction { return Introduction{Commit: commit, named: true} }

// ParseIntroduction reads "<commit>@SHA256:<fingerprint>".
func ParseIntroduction(s string) (Introduction, error) {
	commit, fp, ok := strings.Cut(s, "@")
	if !ok {
		return Introduction{}, fmt.Errorf("introduction %.120q: want <commit>@SHA256:<fingerprint>, as pullnode init prints it", s)
	}
	id, err := ParseID(commit)
	if err != nil {
		return Introduction{}, fmt.Errorf("introduction: %w", err)
	}
	hash, ok := strings.CutPrefix(fp, "SHA256:")
	if !ok || len(hash) != 43 || strings.ContainsAny(hash, " \t\r\n=") {
		return Introduction{}, fmt.Errorf("introduction: %.80q is not a key fingerprint (SHA256: and 43 characters, as ssh-keygen -l prints it)", fp)
	}
	return Introduction{Commit: id, Fingerprint: fp}, nil
}

// String gives the form that ParseIntroduction reads.
func (i Introduction) String() string { return string(i.Commit) + "@" + i.Fingerprint }

// hashObject gives the id of an object as git computes it, with collision
// detection: a body made to collide is an error, never an id.
func hashObject(kind string, body []byte) (ID, error) {
	sum, collision := sha1Of(fmt.Appendf(nil, "%s %d\x00", kind, len(body)), body)
	if collision {
		return "", fmt.Errorf("a %s of %d bytes was made to collide under SHA-1", kind, len(body))
	}
	return ID(hex.EncodeToString(sum)), nil
}

func sha1Of(header, body []byte) (sum []byte, collision bool) {
	h := sha1cd.New().(sha1cd.CollisionResistantHash)
	h.Write(header)
	h.Write(body)
	return h.CollisionResistantSum(nil)
}

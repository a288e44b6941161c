package sync

import (
	"runtime"
	"strings"
	stdsync "sync"
)

// prefetch checks the signatures of the new commits with all processors, those
// whose key is in the signature itself: what they prove does not depend on any
// policy.
func (j *judge) prefetch() {
	type proof struct {
		id  ID
		sig Signature
		err error
	}
	work, done := make(chan *Commit), make(chan proof, 64)
	var all stdsync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for c := range work {
				sig, err := c.verify(nil)
				done <- proof{c.ID, sig, err}
			}
		})
	}
	go func() {
		for _, id := range j.s.order {
			if c := j.s.commits[id]; strings.HasPrefix(c.signature, sshBegin) {
				work <- c
			}
		}
		close(work)
		all.Wait()
		close(done)
	}()
	for p := range done {
		if p.err != nil {
			j.fails[failed{id: p.id}] = vain{p.sig, p.err}
		} else {
			j.sigs[p.id] = p.sig
		}
	}
}

package fetch

import (
	"errors"
	"time"
)

// Limits bound what a server can make this machine do. The zero value of a
// field means its default.
type Limits struct {
	Poll    time.Duration `json:"poll,omitempty"`    // one question for the tip; default 30 s
	Fetch   time.Duration `json:"fetch,omitempty"`   // one fetch, from start to answer; default 15 min
	Window  time.Duration `json:"window,omitempty"`  // span over which MinRate is taken; default 60 s
	MinRate int64         `json:"minRate,omitempty"` // bytes a second while a pack comes; default 200

	Refs     int64 `json:"refs,omitempty"`     // bytes of one ref listing; default 1 MiB
	Side     int64 `json:"side,omitempty"`     // bytes of progress text; default 1 MiB
	Pack     int64 `json:"pack,omitempty"`     // bytes of one pack; default 256 MiB
	Object   int64 `json:"object,omitempty"`   // bytes of one object or delta; default 64 MiB
	Commit   int64 `json:"commit,omitempty"`   // bytes of one commit or tag; default 64 KiB
	Tree     int64 `json:"tree,omitempty"`     // bytes of one tree; default 4 MiB
	Inflated int64 `json:"inflated,omitempty"` // bytes of all objects of a pack; default 1 GiB
	Objects  int   `json:"objects,omitempty"`  // objects of a pack; default 1,000,000
	Chain    int   `json:"chain,omitempty"`    // deltas on deltas; default 250
	Depth    int   `json:"depth,omitempty"`    // nested directories; default 64
	Answer   int64 `json:"answer,omitempty"`   // bytes of the answer; default 3 GiB

	CPU    uint64 `json:"cpu,omitempty"`    // seconds of the child; default 300
	Memory uint64 `json:"memory,omitempty"` // bytes of the child; default 1 GiB
}

// packets is the most bytes of the packets that bring a pack, which may be small.
func (l Limits) packets() int64 { return 2*l.Pack + l.Side }

// listings is the most bytes that come beside a pack: three listings, the
// handshakes and the overhead of encryption.
func (l Limits) listings() int64 { return 5 * l.Refs }

func or[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// check refuses limits that would switch a protection off.
func (l Limits) check() error {
	if l.Poll < 0 || l.Fetch < 0 || l.Window < 0 || l.MinRate < 0 || l.Refs < 0 || l.Side < 0 || l.Pack < 0 || l.Object < 0 ||
		l.Commit < 0 || l.Tree < 0 || l.Inflated < 0 || l.Objects < 0 || l.Chain < 0 || l.Depth < 0 || l.Answer < 0 {
		return errors.New("a fetch limit is negative")
	}
	return nil
}

func (l Limits) withDefaults() Limits {
	or(&l.Poll, 30*time.Second)
	or(&l.Fetch, 15*time.Minute)
	or(&l.Window, time.Minute)
	or(&l.MinRate, 200)
	or(&l.Refs, 1<<20)
	or(&l.Side, 1<<20)
	or(&l.Pack, 256<<20)
	or(&l.Object, 64<<20)
	or(&l.Commit, 64<<10)
	or(&l.Tree, 4<<20)
	or(&l.Inflated, 1<<30)
	or(&l.Objects, 1_000_000)
	or(&l.Chain, 250)
	or(&l.Depth, 64)
	or(&l.Answer, 3<<30)
	or(&l.CPU, 300)
	or(&l.Memory, 1<<30)
	return l
}

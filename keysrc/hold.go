package keysrc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// Hold says how long an Agent keeps the key.
type Hold string

// The spans. With HoldActivation the key is dropped when nobody has asked for
// DefaultIdle and no try of a new system goes on; a try lasts until it is
// committed or its revert has ended.
const (
	HoldActivation Hold = "activation"
	HoldUptime     Hold = "uptime"
)

// DefaultIdle lies between the preflight of a new system and its switch.
const DefaultIdle = 2 * time.Minute

// HoldFile exists while a try goes on: pullnode-hold.service makes it and
// removes it.
const HoldFile = "/run/pullnode-keys/hold"

// Holding says what an Agent holds. It has no secret.
type Holding struct {
	Held       bool      `json:"held"`
	Source     string    `json:"source,omitempty"`
	Recipients []string  `json:"recipients,omitempty"`
	Memory     Memory    `json:"memory,omitempty"`   // empty when the key lives in a device
	Restarts   bool      `json:"restarts,omitempty"` // the key survives a restart of the keys process
	Since      time.Time `json:"since,omitzero"`
	Unwraps    int       `json:"unwraps,omitempty"` // since then
	Hold       Hold      `json:"hold,omitempty"`
	Busy       bool      `json:"busy,omitempty"`    // a try goes on
	Erases     bool      `json:"erases"`            // this build overwrites the copies made while the key is used
	Missing    bool      `json:"missing,omitempty"` // somebody was refused for want of the key
	Problem    string    `json:"problem,omitempty"` // why the last search found no key
}

// FileExists makes an Agent's Busy from a file's existence. When that cannot be
// told, a try is assumed.
func FileExists(path string) func() bool {
	return func() bool {
		_, err := os.Lstat(path)
		return !errors.Is(err, fs.ErrNotExist)
	}
}

// janitor drops the key when it is not to be held any longer.
func (a *Agent) janitor(ctx context.Context) {
	if a.Hold == HoldUptime {
		return
	}
	tick := time.NewTicker(max(a.idle()/8, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.locked(func() {
			switch {
			case a.key == nil:
			case a.busy():
				a.used = time.Now()
			case time.Since(a.used) >= a.idle():
				a.Log.Info("dropped the key: nobody needs it", "unwraps", a.unwraps)
				a.drop()
			}
		})
	}
}

func (a *Agent) idle() time.Duration {
	if a.Idle > 0 {
		return a.Idle
	}
	return DefaultIdle
}

func (a *Agent) busy() bool { return a.Busy != nil && a.Busy() }

// locked runs f while nobody else uses the key.
func (a *Agent) locked(f func()) {
	<-a.access
	defer func() { a.access <- struct{}{} }()
	f()
}

// take makes k the key that is held.
func (a *Agent) take(k *Key) {
	a.key, a.used, a.since, a.unwraps = k, time.Now(), time.Now(), 0
	a.kept = false
	if a.Store == nil || k.Memory() != MemfdSecret {
		return
	}
	if err := a.Store.keep(k); err != nil {
		a.Log.Warn("a restart of this process will lose the key", "err", err)
		return
	}
	a.kept = true
}

// drop wipes the key, here and where it was kept for a restart.
func (a *Agent) drop() {
	if a.kept {
		if err := a.Store.forget(); err != nil {
			a.Log.Warn("systemd may still keep the wiped key's memory", "err", err)
		}
		a.kept = false
	}
	a.key.Wipe()
	a.key = nil
	tidy()
}

func (a *Agent) state() (s Holding) {
	a.locked(func() {
		s = Holding{Held: a.key != nil, Hold: a.Hold, Busy: a.busy(), Erases: ErasesCopies, Problem: a.problem, Missing: a.missing}
		if s.Held {
			s.Source, s.Recipients, s.Memory = a.key.From(), a.key.Recipients(), a.key.Memory()
			s.Restarts, s.Since, s.Unwraps = a.kept, a.since, a.unwraps
		}
	})
	return s
}

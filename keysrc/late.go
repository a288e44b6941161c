package keysrc

import (
	"context"
	"errors"
	"time"
)

// OnMissing says what an Agent does with a question for which there is no key.
type OnMissing string

// The ways. In all of them the sources are asked again in the background, and
// Arrived is called when the key has come.
const (
	MissingDegraded OnMissing = "degraded" // the question fails at once
	MissingWait     OnMissing = "wait"     // it waits as long as who asks
	// MissingBlockBoot is MissingDegraded for an Agent: who holds up the boot is
	// a unit that asks again and again, see AwaitBoot.
	MissingBlockBoot OnMissing = "block-boot"
)

// lateEvery is the pause between two searches for a key that is missing, and
// lateSlower how many times as long it becomes when a source says no: to ask on
// and on would use up a key server's quota and fill its audit.
const (
	lateEvery  = 5 * time.Second
	lateSlower = 60
)

// miss notes that an unwrap found no key: some program is without its secret now.
// The caller holds access.
func (a *Agent) miss(err error) {
	if !errors.Is(err, context.Canceled) && !a.missing {
		a.missing = true
		a.Log.Warn("secrets are missing: the sources are asked again until the key has come", "err", err)
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// late looks for a key that was asked for in vain, until it is there.
func (a *Agent) late(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		for pause := a.every(); a.stillMissing(); {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			came, err := a.search(ctx)
			pause = slower(pause, a.every(), err)
			if came && a.Arrived != nil {
				a.Arrived(ctx)
			}
		}
	}
}

// slower gives the pause after a search that ended with err.
func slower(pause, every time.Duration, err error) time.Duration {
	if err == nil || errors.Is(err, ErrAbsent) {
		return every
	}
	return min(2*pause, lateSlower*every)
}

func (a *Agent) every() time.Duration {
	if a.Every > 0 {
		return a.Every
	}
	return lateEvery
}

func (a *Agent) stillMissing() (missing bool) {
	a.locked(func() { missing = a.missing })
	return missing
}

// alarm notes why there is no key. A source that is there and does not give this
// host's key is one that somebody has to look at: an error in the log and a line in
// the audit, once for each reason. The caller holds access.
func (a *Agent) alarm(err error) {
	text := err.Error()
	if text == a.problem || errors.Is(err, ErrAbsent) || errors.Is(err, context.Canceled) {
		a.problem = text
		return
	}
	a.problem = text
	a.Log.Error("alarm: a key source is there and does not give this host's key; no other source is asked", "err", err)
	a.record(Event{Event: "alarm", Error: text})
}

// search tells whether the missing key is there now. One that is there and wrong
// stays missing, and is an alarm in the log each time it changes.
func (a *Agent) search(ctx context.Context) (came bool, err error) {
	a.locked(func() {
		defer tidy()
		if a.key == nil {
			var k *Key
			if k, err = a.Keys.Fetch(ctx); err != nil {
				if err.Error() != a.problem && ctx.Err() == nil {
					a.Log.Warn("secrets are still missing", "err", err)
					a.alarm(err)
				}
				return
			}
			a.acquired(k)
		}
		a.missing, came = false, true
		a.Log.Info("the key has come: what waits for secrets is started", "source", a.key.From())
	})
	return came, err
}

// AwaitBoot asks through await until the key is there or ctx is done, and says
// each new reason for waiting.
func AwaitBoot(ctx context.Context, every time.Duration, await func(context.Context) error, say func(error)) error {
	said := ""
	for pause := every; ; {
		err := await(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if text := err.Error(); text != said {
			said = text
			say(err)
		}
		pause = slower(pause, every, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// fetch gets the key for a question. With MissingWait it tries again while the
// key is absent, and lets others ask in between.
func (a *Agent) fetch(ctx context.Context, wait bool) error {
	for {
		k, err := a.Keys.Fetch(ctx)
		if err == nil {
			a.acquired(k)
			return nil
		}
		a.alarm(err)
		if !wait || a.OnMissing != MissingWait || !errors.Is(err, ErrAbsent) {
			return err
		}
		a.miss(err)
		a.access <- struct{}{}
		select {
		case <-ctx.Done():
		case <-time.After(a.every()):
		}
		<-a.access
		if ctx.Err() != nil {
			return err
		}
		if a.key != nil {
			return nil
		}
	}
}

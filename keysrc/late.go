package keysrc

import (
	"context"
	"errors"
	"time"
)

// OnMissing says what an Agent does with a question for which there is no key.
type OnMissing string

// The ways. In both the sources are asked again in the background, and Arrived is
// called when the key has come.
const (
	MissingDegraded OnMissing = "degraded" // the question fails at once
	MissingWait     OnMissing = "wait"     // it waits as long as who asks
)

// lateEvery is the pause between two searches for a key that is missing.
const lateEvery = 5 * time.Second

// miss notes that an unwrap found no key: some program is without its secret now.
// The caller holds access.
func (a *Agent) miss(err error) {
	if errors.Is(err, ErrAbsent) && !a.missing {
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
		for a.stillMissing() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(a.every()):
			}
			if a.search(ctx) && a.Arrived != nil {
				a.Arrived(ctx)
			}
		}
	}
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

// search tells whether the missing key is there now. One that is there and wrong
// stays missing, and is an alarm in the log each time it changes.
func (a *Agent) search(ctx context.Context) (came bool) {
	a.locked(func() {
		if a.key == nil {
			k, err := a.Keys.Fetch(ctx)
			if err != nil {
				if text := err.Error(); text != a.problem && ctx.Err() == nil {
					a.problem = text
					a.Log.Warn("secrets are still missing", "err", err)
				}
				return
			}
			a.acquired(k)
		}
		a.missing, came = false, true
		a.Log.Info("the key has come: what waits for secrets is started", "source", a.key.From())
	})
	return came
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
		a.problem = err.Error()
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

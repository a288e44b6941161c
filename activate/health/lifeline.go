package health

import (
	"context"
	"errors"
	"time"
)

// Probe asks whether one place can still be reached: a remote, a mirror, a
// target. It connects anew each time. nil means that it answered.
type Probe func(ctx context.Context) error

// Lifeline asks whether the node can still fetch the next commit. One probe that
// answers once is enough. It has a window of its own, longer than that of the
// checks: the forge may live in the fleet that is switching. For the same reason
// its failure alone never proves a system bad.
type Lifeline struct {
	Probes   []Probe
	Window   time.Duration // in all
	Interval time.Duration // between two rounds
	Timeout  time.Duration // of one probe
}

// Run asks all probes at once, again and again, until one answers. The error
// joins what each said last.
func (l Lifeline) Run(ctx context.Context) error {
	if len(l.Probes) == 0 {
		return errors.New("the lifeline has nothing to ask")
	}
	end := time.Now().Add(l.Window)
	for {
		err := l.round(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !time.Now().Add(l.Interval).Before(end) {
			return err
		}
		if err := sleep(ctx, l.Interval); err != nil {
			return err
		}
	}
}

// round gives nil with the first answer and leaves the others to their context.
func (l Lifeline) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	type answer struct {
		i   int
		err error
	}
	answers := make(chan answer, len(l.Probes))
	for i, p := range l.Probes {
		go func() { answers <- answer{i, p(ctx)} }()
	}
	errs := make([]error, len(l.Probes))
	for range l.Probes {
		select {
		case a := <-answers:
			if a.err == nil {
				return nil
			}
			errs[a.i] = a.err
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	return errors.Join(errs...)
}

// sleep waits, or gives the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

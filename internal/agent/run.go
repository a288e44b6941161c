package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// worker is what the loop knows of the goroutine that does the work.
type worker struct {
	done chan end
	// interrupt ends what is being built; a try is not stopped by it.
	interrupt context.CancelFunc
}

type end struct {
	wait time.Duration
	err  error
}

// wakePause is the least time between two polls that the network's coming up
// began.
const wakePause = 5 * time.Second

// Run is the loop until ctx is done. It gives an error only where this process
// no longer knows the truth and must be started again. What takes time is done by
// a worker, one at a time, so this loop keeps turning whatever the worker waits
// for; alive is called with each turn and means that the agent is alive.
func (a *Agent) Run(ctx context.Context, alive func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(filepath.Join(a.Dirs.Run, "request")); err != nil {
		return fmt.Errorf("watch for requests: %w", err)
	}
	a.status.Started = a.Now().UTC()
	beat := time.NewTicker(15 * time.Second)
	defer beat.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var wake <-chan struct{}
	if a.Wake != nil {
		wake = a.Wake(ctx)
	}
	var woken time.Time
	var at worker
	due := false
	queue := a.takeRequests()
	for {
		if at.done == nil && (due || len(queue) > 0) {
			at, queue, due = a.work(ctx, queue), nil, false
		}
		alive()
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		case <-timer.C:
			due = true
		case _, ok := <-wake:
			if !ok {
				wake = nil
			} else if at.done == nil && a.Store.State().Failure.Count > 0 {
				// A network that flaps, or a fetching process in somebody
				// else's hands, may not make this a busy loop.
				timer.Reset(max(0, wakePause-time.Since(woken)))
				woken = time.Now()
			}
		case <-w.Events:
			for _, r := range a.takeRequests() {
				if at.done != nil && r.urgent() {
					at.interrupt()
				}
				queue = append(queue, r)
			}
		case e := <-at.done:
			at.interrupt()
			at.done = nil
			if ctx.Err() != nil {
				return nil
			}
			if e.err != nil {
				return e.err
			}
			timer.Reset(e.wait)
		}
	}
}

// work carries out requests and then one cycle, outside of the loop.
func (a *Agent) work(ctx context.Context, queue []Request) worker {
	w := worker{done: make(chan end, 1)}
	a.building, w.interrupt = context.WithCancel(ctx)
	go func() {
		for _, r := range queue {
			a.Log.Info("request", "verb", r.Verb, "commit", r.Commit)
			if err := a.handle(ctx, r); err != nil {
				a.Log.Error("request", "verb", r.Verb, "err", err)
				a.status.Request = fmt.Sprintf("%s: %v", r.Verb, err)
			} else {
				a.status.Request = ""
			}
		}
		wait, err := a.Cycle(ctx)
		w.done <- end{wait, err}
	}()
	return w
}

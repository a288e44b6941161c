package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pullnode/internal/agent"
	"pullnode/internal/durable"
	"pullnode/sync"
)

// asker asks the fetching process of another unit by the two files of the
// process contract.
type asker struct{ dirs agent.Dirs }

// askTimeout is longer than any fetch may take: a process that says nothing by
// then is gone or hangs.
const askTimeout = 20 * time.Minute

// Ask writes the request and waits for the report that carries its number.
func (a asker) Ask(ctx context.Context, w sync.Want) (sync.Report, error) {
	raw, err := json.Marshal(w)
	if err != nil {
		return sync.Report{}, err
	}
	if err := durable.WriteFile(filepath.Join(a.dirs.Run, "want"), append(raw, '\n'), 0o644); err != nil {
		return sync.Report{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	began := time.Now()
	wait, last := 50*time.Millisecond, errors.New("no report")
	for {
		raw, err := agent.ReadForeign(a.dirs.Report, sync.ReportLimit)
		if err == nil {
			var r sync.Report
			if r, err = sync.DecodeReport(raw); err == nil && r.Request == w.Request {
				return r, nil
			}
		}
		if errors.Is(err, agent.ErrPlanted) && time.Since(began) > 2*time.Second {
			// The fetching process would have replaced it by now.
			return sync.Report{}, err
		}
		if err != nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return sync.Report{}, fmt.Errorf("%w (last: %w)", ctx.Err(), last)
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

// ownDirs are what pullnode-dirs.service makes before the agent starts.
var ownDirs = []struct {
	path string
	mode os.FileMode
}{{"/nix/var/pullnode", 0o755}, {rootsDir, 0o755}, {runDir, 0o755}, {runDir + "/request", 0o700}}

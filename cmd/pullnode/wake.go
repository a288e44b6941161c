package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"pullnode/internal/agent"
	"pullnode/sync"
)

// reportedUp follows the report of the fetching process, which is the one that
// sees the network, and tells when it says that the network has come up. The
// directory may come later and may go.
func reportedUp(ctx context.Context, path string, log *slog.Logger) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil {
			if err := followReport(ctx, path, out); err != nil && ctx.Err() == nil {
				log.Debug("report", "err", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
	}()
	return out
}

// followReport returns when the directory of the report is gone.
func followReport(ctx context.Context, path string, out chan<- struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	dir := filepath.Dir(path)
	if err := w.Add(dir); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			return err
		case e := <-w.Events:
			if filepath.Clean(e.Name) == filepath.Clean(dir) && e.Has(fsnotify.Remove|fsnotify.Rename) {
				return nil
			}
			if filepath.Base(e.Name) != filepath.Base(path) || !e.Has(fsnotify.Create|fsnotify.Write) {
				continue
			}
			raw, err := agent.ReadForeign(path, sync.ReportLimit)
			if err != nil {
				continue // whoever asked for the report says so
			}
			if r, err := sync.DecodeReport(raw); err == nil && r.NetworkUp {
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}
}

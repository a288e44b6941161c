package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"pullnode/sync"
)

// Config is what a Server needs.
type Config struct {
	WantPath    string          // read: the request of the agent
	AnswerPath  string          // written: the object stream, mode 0600
	ReportPath  string          // written: one sync.Report, mode 0600
	RepoDir     string          // kept between fetches; may be removed at any time
	Credentials map[string]Auth // by the name of the remote
	Limits      Limits
	// Child makes the command that runs ChildMain, not started yet. It should
	// set an environment without secrets.
	Child  func() *exec.Cmd
	Logger *slog.Logger // nil: nothing is logged
}

// Server answers requests for a branch. It is the whole of the fetching service
// and is for one goroutine.
type Server struct {
	conf    Config
	clients map[string]keptClient
	log     *slog.Logger
	failed  *sync.Report // the last report, when it is of a failure
}

type keptClient struct {
	*Client
	url    string
	secret Secret
}

// New checks the configuration and touches no file.
func New(c Config) (*Server, error) {
	if c.AnswerPath == "" || c.RepoDir == "" || c.Child == nil {
		return nil, errors.New("fetch: answer path, repository and child command must be set")
	}
	if err := c.Limits.check(); err != nil {
		return nil, err
	}
	s := &Server{conf: c, clients: map[string]keptClient{}, log: c.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Run serves every new request number until ctx ends, which is no error. It
// sleeps in between: nothing wakes it but a change of the want file. It fails
// when the directory of that file cannot be watched or the report not written.
func (s *Server) Run(ctx context.Context) error {
	defer s.Close()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch for requests: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(s.conf.WantPath)); err != nil {
		return fmt.Errorf("watch for requests: %w", err)
	}
	up, err := NetworkUp(ctx)
	if err != nil {
		s.log.Warn("a network that comes up is not noticed", "error", err.Error())
	}
	// A restart must not answer twice what was answered before it.
	last := s.reported()
	for {
		if last, err = s.next(ctx, last); err != nil {
			return err
		}
		if err := s.await(ctx, w, up); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// await returns when the want file may have changed or ctx has ended. Meanwhile
// it says when the network comes up; up may be nil.
func (s *Server) await(ctx context.Context, w *fsnotify.Watcher, up <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-up:
			if !ok {
				up = nil // the socket was lost
				continue
			}
			if err := s.networkUp(); err != nil {
				return err
			}
		case err := <-w.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				return nil // events were lost: look
			}
			return fmt.Errorf("watch for requests: %w", err)
		case e, ok := <-w.Events:
			if !ok {
				return errors.New("watch for requests: the watcher has stopped")
			}
			if filepath.Clean(e.Name) == filepath.Clean(s.conf.WantPath) && !e.Has(fsnotify.Remove) {
				return nil
			}
		}
	}
}

// next serves the request in the want file if its number is not last. The agent's
// numbers only rise; a last one above them was not written by this program.
func (s *Server) next(ctx context.Context, last uint64) (uint64, error) {
	want, err := readWant(s.conf.WantPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return last, nil
	case err != nil:
		s.log.Warn("request dropped", "error", oneLine(err.Error()))
		return last, nil
	case want.Request == last:
		return last, nil
	}
	rep := s.Serve(ctx, want)
	if ctx.Err() != nil {
		return last, nil // the next start serves it
	}
	if err := s.report(rep); err != nil {
		return last, err
	}
	return want.Request, nil
}

// report writes a report, and remembers it when it is of a failure.
func (s *Server) report(rep sync.Report) error {
	s.failed = nil
	if rep.Class != sync.Unchanged && rep.Class != sync.Moved {
		s.failed = &rep
	}
	b, err := encodeReport(rep)
	if err == nil {
		err = replace(s.conf.ReportPath, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// networkUp adds to the report of a failure, once, that the network has come up.
func (s *Server) networkUp() error {
	if s.failed == nil {
		return nil
	}
	rep := *s.failed
	rep.NetworkUp = true
	err := s.report(rep)
	s.failed = nil
	return err
}

func (s *Server) reported() uint64 {
	b, err := readCapped(s.conf.ReportPath, sync.ReportLimit)
	if err != nil {
		return 0
	}
	r, err := sync.DecodeReport(b)
	if err != nil {
		return 0
	}
	return r.Request
}

// Serve answers one request: it asks the remotes in order, and when the branch
// of the first that answers has moved, its answer is in place before Serve
// returns. A failure of all is the first one's, with what the others said.
func (s *Server) Serve(ctx context.Context, want sync.Want) sync.Report {
	if err := checkWant(want); err != nil {
		rep := sync.Report{Format: sync.StreamFormat, Request: want.Request}
		setError(&rep, local("request", err))
		return rep
	}
	s.forget(want)
	var failed []sync.Report
	for _, r := range want.Remotes {
		start := time.Now()
		rep := s.try(ctx, want, r)
		level := slog.LevelWarn
		switch rep.Class {
		case sync.Unchanged:
			level = slog.LevelDebug
		case sync.Moved:
			level = slog.LevelInfo
		}
		s.log.Log(ctx, level, "remote asked", "remote", r.Name, "class", string(rep.Class), "text", rep.Text,
			"tip", rep.Tip, "bytes", rep.Bytes, "protocol", rep.Protocol, "took", time.Since(start))
		if rep.Class == sync.Unchanged || rep.Class == sync.Moved {
			return rep
		}
		failed = append(failed, rep)
	}
	rep := failed[0]
	if len(failed) > 1 {
		var texts []string
		for _, f := range failed {
			texts = append(texts, f.Remote+": "+f.Text)
			rep.Bytes += f.Bytes
		}
		rep.Bytes -= failed[0].Bytes
		rep.Text = oneLine(strings.Join(texts, "; "))
	}
	return rep
}

// Close drops the kept connections.
func (s *Server) Close() {
	for name, c := range s.clients {
		c.Close()
		delete(s.clients, name)
	}
}

package fetch

import (
	"context"
	"os"

	"pullnode/sync"
)

// try asks one remote.
func (s *Server) try(ctx context.Context, want sync.Want, r sync.WantRemote) sync.Report {
	rep := sync.Report{Format: sync.StreamFormat, Request: want.Request, Remote: r.Name}
	c, err := s.client(r)
	if err != nil {
		setError(&rep, err)
		return rep
	}
	before := c.Bytes()
	tip, err := c.Tip(ctx, want.Branch)
	rep.Tip, rep.Protocol, rep.Bytes = tip, c.Protocol(), c.Bytes()-before
	if err != nil {
		setError(&rep, classify(ctx, "ask for the branch", err))
		return rep
	}
	if tip == want.Known {
		rep.Class = sync.Unchanged
		return rep
	}
	j := job{Want: want, Remote: r, Secret: c.secret, Repo: s.conf.RepoDir, Answer: s.conf.AnswerPath, Limits: s.conf.Limits}
	got, ok := spawn(ctx, s.conf.Child(), j)
	if !ok {
		// What killed it may lie in there, and would kill the next one too.
		if err := os.RemoveAll(s.conf.RepoDir); err != nil {
			s.log.Warn("repository not removed", "error", err)
		}
		os.Remove(partOf(s.conf.AnswerPath))
	}
	got.Bytes += rep.Bytes
	return got
}

// client gives the kept client of a remote, or a new one when its address or
// credentials have changed.
func (s *Server) client(r sync.WantRemote) (keptClient, error) {
	secret, err := s.conf.Credentials[r.Name].Load()
	if err != nil {
		return keptClient{}, err
	}
	if c, ok := s.clients[r.Name]; ok {
		if c.url == r.URL && c.secret == secret {
			return c, nil
		}
		c.Close()
		delete(s.clients, r.Name)
	}
	c, err := Open(Options{Name: r.Name, URL: r.URL, Secret: secret, Limits: s.conf.Limits})
	if err != nil {
		return keptClient{}, err
	}
	k := keptClient{c, r.URL, secret}
	s.clients[r.Name] = k
	return k, nil
}

// forget closes connections to remotes that are not asked for any more.
func (s *Server) forget(want sync.Want) {
	for name, c := range s.clients {
		used := false
		for _, r := range want.Remotes {
			used = used || r.Name == name
		}
		if !used {
			c.Close()
			delete(s.clients, name)
		}
	}
}

package lab

import (
	"net"
	"net/http"
	"sync"
	"testing"
)

// server serves a repository to a machine, can go away and come back, and
// has a page /healthz that is well or not.
type server struct {
	t       *testing.T
	addr    string
	handler http.Handler

	mu  sync.Mutex
	srv *http.Server
	ill bool
}

func serve(t *testing.T, ip string, repo http.Handler) *server {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: l.Addr().String()}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		ill := s.ill
		s.mu.Unlock()
		switch {
		case r.URL.Path == "/healthz" && ill:
			http.Error(w, "ill", http.StatusServiceUnavailable)
			return
		case r.URL.Path == "/healthz":
			return
		}
		repo.ServeHTTP(w, r)
	})
	s.start(l)
	t.Cleanup(s.down)
	return s
}

func (s *server) url(path string) string { return "http://" + s.addr + path }

func (s *server) start(l net.Listener) {
	s.mu.Lock()
	s.srv = &http.Server{Handler: s.handler}
	srv := s.srv
	s.mu.Unlock()
	go srv.Serve(l)
}

// down cuts every connection and takes no more.
func (s *server) down() {
	s.mu.Lock()
	srv := s.srv
	s.mu.Unlock()
	srv.Close()
}

// up comes back at the same address.
func (s *server) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.start(l)
}

func (s *server) setIll(ill bool) {
	s.mu.Lock()
	s.ill = ill
	s.mu.Unlock()
}

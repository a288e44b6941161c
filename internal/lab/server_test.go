package lab

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// server serves a repository to a machine, can go away and come back, can hang,
// and has a page /healthz that is well or not.
type server struct {
	t       *testing.T
	addr    string
	handler http.Handler

	mu   sync.Mutex
	srv  *http.Server
	gate chan struct{} // fetches wait while it is open
	ill  bool
	hung int // fetches that wait now
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
		gate, ill := s.gate, s.ill
		s.mu.Unlock()
		switch {
		case r.URL.Path == "/healthz" && ill:
			http.Error(w, "ill", http.StatusServiceUnavailable)
			return
		case r.URL.Path == "/healthz":
			return
		case gate != nil && strings.HasSuffix(r.URL.Path, "/git-upload-pack"):
			s.count(1)
			select {
			case <-gate:
			case <-r.Context().Done():
			}
			s.count(-1)
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

// hang lets every request for refs or objects wait until release.
func (s *server) hang() (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	s.gate = gate
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
	})
}

func (s *server) count(d int) {
	s.mu.Lock()
	s.hung += d
	s.mu.Unlock()
}

// waiting says how many requests hang.
func (s *server) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hung
}

func (s *server) setIll(ill bool) {
	s.mu.Lock()
	s.ill = ill
	s.mu.Unlock()
}

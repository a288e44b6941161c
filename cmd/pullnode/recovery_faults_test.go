package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/config"
	"pullnode/internal/gitrig"
)

// broken hurts the node's remote, looks, and heals it.
type broken func(t *testing.T, row docRow, least time.Duration, hurt func(), heal func())

// faultsOfTheRemote are by the first column of the table in docs/recovery.md.
func faultsOfTheRemote(h *host, run broken) map[string]func(*testing.T, docRow) {
	remote := &h.a.Config.Remotes[0]
	was := *remote
	back := func() { *remote = was; h.answer = nil; h.refetch(func() {}) }
	at := func(url string) func(*testing.T, docRow) {
		return func(t *testing.T, row docRow) { run(t, row, 0, func() { remote.URL = url }, back) }
	}
	serve := func(answer http.HandlerFunc) func(*testing.T, docRow) {
		return func(t *testing.T, row docRow) { run(t, row, 0, func() { h.answer = answer }, back) }
	}
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	fetching := func(do func(w http.ResponseWriter, r *http.Request, body []byte)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.Method == http.MethodPost && bytes.Contains(body, []byte("command=fetch")) {
				do(w, r, body)
				return
			}
			h.git.ServeHTTP(w, r)
		}
	}
	tls := httptest.NewUnstartedServer(h.git)
	tls.Config.ErrorLog = nil
	tls.StartTLS()
	h.t.Cleanup(tls.Close)
	empty := func(t *testing.T, name string) string {
		dir := filepath.Join(t.TempDir(), name)
		h.r.Git("init", "-q", "--bare", dir)
		return dir
	}
	return map[string]func(*testing.T, docRow){
		"the server is down, no route": at("http://" + gitrig.ClosedPort(h.t) + "/repo"),
		"its name does not resolve":    at("http://no..such.host.example/repo"),
		"its certificate is expired, for another name, or of an unknown authority": at(tls.URL + "/repo"),
		"it wants other credentials: 401, 403":                                     serve(status(401)),
		"there is no such repository: 404, 410":                                    serve(status(404)),
		"it redirects to another server":                                           serve(status(302, "Location", "http://other.example.org/repo/info/refs?service=git-upload-pack")),
		"it answers 500 and the like":                                              serve(status(500)),
		"the repository is empty":                                                  func(t *testing.T, row docRow) { at(empty(t, "empty"))(t, row) },
		"it asks for patience: 429, or 503 with Retry-After": func(t *testing.T, row docRow) {
			run(t, row, 90*time.Second, func() { h.answer = status(429, "Retry-After", "90") }, back)
		},
		"the branch is not there": func(t *testing.T, row docRow) {
			run(t, row, 0, func() { h.a.Config.Branch = "gone" }, func() { h.a.Config.Branch = "main" })
		},
		"the server hangs or sends too slowly": func(t *testing.T, row docRow) {
			stop := make(chan struct{})
			run(t, row, 0, func() {
				h.answer = fetching(func(_ http.ResponseWriter, r *http.Request, _ []byte) {
					select {
					case <-r.Context().Done():
					case <-stop:
					}
				})
				h.refetch(func() { h.a.Config.Fetch.Timeout = config.Duration(time.Second) })
			}, func() {
				close(stop)
				h.a.Config.Fetch.Timeout = config.Duration(10 * time.Minute)
				back()
			})
		},
		"the pack is cut off or damaged": serve(fetching(func(w http.ResponseWriter, r *http.Request, _ []byte) {
			rec := httptest.NewRecorder()
			h.git.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		})),
		"it sends more than the node takes": func(t *testing.T, row docRow) {
			big := make([]byte, 64<<10)
			rand.Read(big)
			h.r.Write("big", string(big))
			run(t, row, 0, func() { h.refetch(func() { h.a.Config.Fetch.MaxPack = 16 << 10 }) },
				func() { h.refetch(func() { h.a.Config.Fetch.MaxPack = 256 << 20 }) })
		},
		"the node's disk is full": func(t *testing.T, row docRow) {
			var free func()
			run(t, row, 0, func() {
				free = tmpfs(t, filepath.Join(h.root, "sync"), "64k")
				fill(t, filepath.Join(h.root, "sync", "fill"))
			}, func() { free() })
		},
		"the fetching process fails by itself": func(t *testing.T, row docRow) {
			repo := filepath.Join(h.root, "sync", "repo")
			run(t, row, 0, func() {
				mustDo(t, os.RemoveAll(repo))
				write(t, repo, "no directory")
			}, func() { os.Remove(repo) })
		},
		"the SSH server refuses the key": func(t *testing.T, row docRow) {
			h.overSSH(t, row, run, "stranger", "host", back)
		},
		"the SSH server shows another key": func(t *testing.T, row docRow) {
			h.overSSH(t, row, run, "deploy", "stranger", back)
		},
	}
}

// overSSH asks a real sshd with one key and expects it to show another.
func (h *host) overSSH(t *testing.T, row docRow, run broken, key, host string, back func()) {
	t.Helper()
	addr := h.r.SSHD("")
	pub, err := os.ReadFile(h.r.Key(host) + ".pub")
	mustDo(t, err)
	run(t, row, 0, func() {
		h.refetch(func() {
			h.a.Config.Remotes[0].URL = "ssh://root@" + addr + h.r.Dir
			h.a.Config.Remotes[0].Auth = config.Auth{KeyFile: h.r.Key(key), HostKey: strings.TrimSpace(string(pub))}
		})
	}, back)
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	mustDo(t, err)
	defer f.Close()
	for buf := make([]byte, 4096); err == nil; {
		_, err = f.Write(buf)
	}
}

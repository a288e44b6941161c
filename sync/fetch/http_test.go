package fetch

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

func TestHTTPClasses(t *testing.T) {
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, strings.Repeat("some page ", 100))
		}
	}
	for _, c := range []struct {
		name  string
		h     http.HandlerFunc
		class sync.Class
		retry time.Duration
	}{
		{"401", status(401), sync.AuthFailed, 0},
		{"403", status(403), sync.AuthFailed, 0},
		{"403 rate limit", status(403, "Retry-After", "60"), sync.Throttled, time.Minute},
		{"404", status(404), sync.NotFound, 0},
		{"429", status(429), sync.Throttled, 0},
		{"429 seconds", status(429, "Retry-After", "17"), sync.Throttled, 17 * time.Second},
		{"429 for ever", status(429, "Retry-After", "99999999999"), sync.Throttled, maxRetryAfter},
		{"429 junk", status(429, "Retry-After", "-3"), sync.Throttled, 0},
		{"500", status(500), sync.ServerError, 0},
		{"503", status(503), sync.ServerError, 0},
		{"503 with time", status(503, "Retry-After", "5"), sync.Throttled, 5 * time.Second},
		{"a page", status(200, "Content-Type", "text/html"), sync.BadData, 0},
		{"empty answer", status(200, "Content-Type", "application/x-git-upload-pack-advertisement"), sync.BadData, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t)
			rep := g.Serve(context.Background(), g.want(serve(t, c.h)))
			if rep.Class != c.class || rep.RetryAfter != c.retry {
				t.Errorf("%+v, want %s after %v", rep, c.class, c.retry)
			}
			if rep.Class != sync.BadData && fmt.Sprint(rep.HTTPStatus) != c.name[:3] {
				t.Errorf("status %d", rep.HTTPStatus)
			}
		})
	}
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if d := retryAfter("Fri, 02 Jan 2026 03:05:05 GMT", now); d != time.Minute {
		t.Errorf("%v", d)
	}
	if d := retryAfter("Fri, 02 Jan 2025 03:05:05 GMT", now); d != 0 {
		t.Errorf("%v", d)
	}
}

func TestUnreachableAndTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for url, class := range map[string]sync.Class{
		"http://" + closedPort(t) + "/x":                        sync.Unreachable,
		"http://no-such-host.invalid/x":                         sync.Unreachable,
		s.URL + "/x":                                            sync.TLSFailed,
		strings.Replace(plain.URL, "http:", "https:", 1) + "/x": sync.TLSFailed,
		"/no/such/path":                                         sync.NotFound,
		"file:///no/such/path":                                  sync.NotFound,
		"gopher://x/y":                                          sync.Internal,
		"http://user:pass@127.0.0.1/x":                          sync.AuthFailed,
	} {
		g := newRig(t)
		rep := g.Serve(context.Background(), g.want(url))
		if rep.Class != class {
			t.Errorf("%s: %+v, want %s", url, rep, class)
		}
		if strings.Contains(rep.Text, "pass@") {
			t.Errorf("a password is in the text: %s", rep.Text)
		}
	}
}

// A repository without a branch, without this branch, and no repository.
func TestMissingBranch(t *testing.T) {
	r, _ := historyRepo(t)
	empty := gitrig.New(t)
	for name, h := range map[string]func(http.Handler) http.Handler{"v2": asIs, "v0": stripV2} {
		g := newRig(t)
		w := g.want(serve(t, h(gitHandler(t, r))))
		w.Branch = "mai"
		if rep := g.Serve(context.Background(), w); rep.Class != sync.MissingBranch || rep.Protocol != name {
			t.Errorf("%s: %+v, want missing branch", name, rep)
		}
		w.Branch = "deploy"
		if rep := g.Serve(context.Background(), w); rep.Class != sync.MissingBranch {
			t.Errorf("%s: %+v, want missing branch", name, rep)
		}
		if rep := g.Serve(context.Background(), g.want(serve(t, h(gitHandler(t, empty))))); rep.Class != sync.EmptyRepo {
			t.Errorf("%s: %+v, want empty", name, rep)
		}
		if rep := g.Serve(context.Background(), g.want(filepath.Dir(g.dir))); rep.Class != sync.NotFound {
			t.Errorf("%+v, want not found", rep)
		}
	}
}

func asIs(h http.Handler) http.Handler { return h }

// stripV2 is an old server: it knows nothing of protocol v2.
func stripV2(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Git-Protocol")
		h.ServeHTTP(w, r)
	})
}

func TestOldServer(t *testing.T) {
	r, ids := historyRepo(t)
	url := serve(t, stripV2(gitHandler(t, r)))
	g := newRig(t)
	w := g.want(url)
	w.Trusted, w.Ancestry = ids[0], true
	if rep := g.moved(r, w, ids[2]); rep.Protocol != "v0" {
		t.Errorf("protocol %s", rep.Protocol)
	}
	r.Write("flake.nix", "{ c = 3; }\n")
	next := r.Commit("alice", "next")
	w = g.want(url)
	w.Trusted, w.Known = ids[2], ids[2]
	g.moved(r, w, next)
}

// Credentials reach the server that they are for and no other.
func TestTokenAndRedirects(t *testing.T) {
	r, ids := historyRepo(t)
	git := gitHandler(t, r)
	other := make(chan string, 10)
	stranger := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { other <- r.Header.Get("Authorization") }))
	origin := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			http.Redirect(w, r, rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/away") {
			http.Redirect(w, r, stranger+"/info/refs?service=git-upload-pack", http.StatusFound)
			return
		}
		if u, p, _ := r.BasicAuth(); u != "x-access-token" || p != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		git.ServeHTTP(w, r)
	}))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newRig(t, func(c *Config) { c.Credentials = map[string]Auth{"origin": {TokenFile: file}} })
	g.moved(r, g.want(origin), ids[2])
	g.moved(r, g.want(strings.Replace(origin, "/repo", "/moved/repo", 1)), ids[2])
	rep := g.Serve(context.Background(), g.want(strings.Replace(origin, "/repo", "/away/repo", 1)))
	if rep.Class != sync.NotFound || len(other) != 0 {
		t.Errorf("%+v, %d requests at the other origin", rep, len(other))
	}
	if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rep := g.Serve(context.Background(), g.want(origin)); rep.Class != sync.AuthFailed || rep.HTTPStatus != 401 {
		t.Errorf("%+v, want auth", rep)
	}
	rep = g.Serve(context.Background(), g.want("http://198.51.100.1/x"))
	if rep.Class != sync.AuthFailed {
		t.Errorf("token over plain http: %+v", rep)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if rep := g.Serve(context.Background(), g.want(origin)); rep.Class != sync.AuthFailed {
		t.Errorf("missing token file: %+v", rep)
	}
}

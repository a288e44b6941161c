package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pullnode/sync"
)

// Servers that never end an answer end at the deadline, or before it for being
// slow.
func TestHungAndSlowServers(t *testing.T) {
	r, _ := historyRepo(t)
	git := gitHandler(t, r)
	var stop chan struct{}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then the end of the connection is seen
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
	drip := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		fmt.Fprint(w, pkt("packfile\n"))
		for {
			select {
			case <-r.Context().Done():
				return
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				fmt.Fprint(w, pkt("\x02."))
				w.(http.Flusher).Flush()
			}
		}
	}
	posts := func(h http.HandlerFunc, command string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && (command == "" || r.ContentLength > 100) {
				h(w, r)
				return
			}
			git.ServeHTTP(w, r)
		}
	}
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		lim  Limits
		says string
	}{
		{"hangs at once", hang, Limits{Poll: 300 * time.Millisecond}, errDeadline.Error()},
		{"hangs at ls-refs", posts(hang, ""), Limits{Poll: 300 * time.Millisecond}, errDeadline.Error()},
		{"hangs at fetch", posts(hang, "fetch"), Limits{Fetch: 500 * time.Millisecond}, errDeadline.Error()},
		{"drips to the deadline", posts(drip, "fetch"), Limits{Fetch: 500 * time.Millisecond, MinRate: 1}, errDeadline.Error()},
		{"drips too slowly", posts(drip, "fetch"), Limits{Window: 200 * time.Millisecond, MinRate: 100_000}, errSlow.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, func(conf *Config) { conf.Limits = c.lim })
			stop = make(chan struct{})
			url := serve(t, c.h)
			t.Cleanup(func() { close(stop) })
			rep := g.Serve(context.Background(), g.want(url))
			if rep.Class != sync.TimedOut || !strings.Contains(rep.Text, c.says) {
				t.Errorf("%+v, want a timeout that says %q", rep, c.says)
			}
		})
	}
}

// A TLS handshake that never ends is a timeout too.
func TestHungTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := newRig(t, func(c *Config) { c.Limits = Limits{Poll: 200 * time.Millisecond} })
	if rep := g.Serve(context.Background(), g.want("https://"+l.Addr().String()+"/x")); rep.Class != sync.TimedOut {
		t.Errorf("%+v, want a timeout", rep)
	}
}

package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/sync"
)

// evil answers ls-refs by git and fetch by whatever it is given.
func evil(git http.Handler, answer func(w io.Writer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.ContentLength > 100 {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			answer(w)
			return
		}
		git.ServeHTTP(w, r)
	}
}

func bands(w io.Writer, pack []byte) {
	for len(pack) > 0 {
		n := min(len(pack), 60000)
		io.WriteString(w, pkt("\x01"+string(pack[:n])))
		pack = pack[n:]
	}
}

// The child reports hostile packs over a real connection; the repository is
// clean afterwards, so that an honest server's answer comes next.
func TestHostileFetch(t *testing.T) {
	r, ids := historyRepo(t)
	git := gitHandler(t, r)
	honest := serve(t, git)
	packs := hostilePacks()
	for name, c := range map[string]struct {
		answer func(io.Writer)
		class  sync.Class
	}{
		"delta bomb": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			bands(w, packs["delta bomb"].b)
			io.WriteString(w, flushPkt)
		}, sync.OverLimit},
		"huge commit": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			bands(w, packs["commit of 65 KiB"].b)
			io.WriteString(w, flushPkt)
		}, sync.OverLimit},
		"truncated": {func(w io.Writer) { io.WriteString(w, pkt("packfile\n")); bands(w, packs["delta bomb"].b[:200]) }, sync.BadData},
		"cut pack": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			bands(w, packs["delta bomb"].b[:40])
			io.WriteString(w, flushPkt)
		}, sync.BadData},
		"empty pack": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			bands(w, new(packer).pack())
			io.WriteString(w, flushPkt)
		}, sync.BadData},
		"shallow": {func(w io.Writer) { io.WriteString(w, pkt("shallow-info\n")+pkt("shallow "+ids[2])+delimPkt) }, sync.BadData},
		"error":   {func(w io.Writer) { io.WriteString(w, pkt("packfile\n")+pkt("\x03out of \x1b[31mluck\n")) }, sync.ServerError},
		"ERR":     {func(w io.Writer) { io.WriteString(w, pkt("ERR upload-pack: not our ref\n")) }, sync.ServerError},
		"no band": {func(w io.Writer) { io.WriteString(w, pkt("packfile\n")+pkt("")) }, sync.BadData},
		"junk":    {func(w io.Writer) { io.WriteString(w, "zzzzzz") }, sync.BadData},
		"flood": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			for range 100 {
				bands(w, make([]byte, 60000))
			}
		}, sync.OverLimit},
		"progress flood": {func(w io.Writer) {
			io.WriteString(w, pkt("packfile\n"))
			for range 100 {
				io.WriteString(w, pkt("\x02"+strings.Repeat("x", 60000)))
			}
		}, sync.OverLimit},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.Limits.Pack = 4 << 20 })
			rep := g.Serve(context.Background(), g.want(serve(t, evil(git, c.answer))))
			if rep.Class != c.class || strings.ContainsRune(rep.Text, 0x1b) {
				t.Errorf("%+v, want %s", rep, c.class)
			}
			if _, err := os.Stat(g.conf.AnswerPath); err == nil {
				t.Error("there is an answer")
			}
			if left, _ := filepath.Glob(filepath.Join(g.conf.RepoDir, "objects/pack/*")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			g.moved(r, g.want(honest), ids[2])
		})
	}
}

// Listings without end stop at the cap, in v2 and in v0.
func TestRefFlood(t *testing.T) {
	r, _ := historyRepo(t)
	git := gitHandler(t, r)
	line := func(i int) string { return pkt(fmt.Sprintf("%040x refs/heads/main%d\n", i, i)) }
	flood := func(w http.ResponseWriter, kind string) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
		for i := 0; i < 1<<20; i++ {
			if _, err := io.WriteString(w, line(i)); err != nil {
				return
			}
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"v2": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				io.Copy(io.Discard, r.Body)
				flood(w, "result")
				return
			}
			git.ServeHTTP(w, r)
		},
		"v0": func(w http.ResponseWriter, _ *http.Request) { flood(w, "advertisement") },
	} {
		g := newRig(t)
		rep := g.Serve(context.Background(), g.want(serve(t, h)))
		if rep.Class != sync.OverLimit || rep.Bytes > 4<<20 {
			t.Errorf("%s: %+v, want over limit within a few MiB", name, rep)
		}
	}
}

// A child that hangs, dies, burns its time or talks nonsense is one failed
// fetch, and its repository is gone.
func TestChildDeath(t *testing.T) {
	r, _ := historyRepo(t)
	for mode, want := range map[string]sync.Class{"hang": sync.TimedOut, "crash": sync.Internal, "burn": sync.OverLimit, "chatter": sync.TimedOut} {
		t.Run(mode, func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.Child = childCommand(mode) })
			if err := os.MkdirAll(g.conf.RepoDir, 0o700); err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			if want == sync.TimedOut {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, time.Second, errDeadline)
				defer cancel()
			}
			rep := g.Serve(ctx, g.want(r.Dir))
			if rep.Class != want {
				t.Errorf("%+v, want %s", rep, want)
			}
			if _, err := os.Stat(g.conf.RepoDir); err == nil {
				t.Error("the repository is still there")
			}
			if b, err := encodeReport(rep); err != nil || len(b) > sync.ReportLimit {
				t.Errorf("report of %d bytes, %v", len(b), err)
			}
		})
	}
}

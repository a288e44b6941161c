package fetch

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
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

// packer writes packs that no honest server makes.
type packer struct {
	bytes.Buffer
	n int
}

func (p *packer) entry(kind byte, declared int64, ref []byte, content []byte) int {
	at := p.Len() + 12
	b, size := kind<<4|byte(declared&15), declared>>4
	for ; size > 0; size >>= 7 {
		p.WriteByte(b | 0x80)
		b = byte(size & 0x7f)
	}
	p.WriteByte(b)
	p.Write(ref)
	z := zlib.NewWriter(&p.Buffer)
	z.Write(content)
	z.Close()
	p.n++
	return at
}

func (p *packer) pack() []byte {
	head := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, uint32(p.n))...)
	all := append(head, p.Bytes()...)
	sum := sha1.Sum(all)
	return append(all, sum[:]...)
}

// ofs adds a delta on the entry at base whose result is declared to be size.
func (p *packer) ofs(base int, from, size uint64) int {
	back := p.Len() + 12 - base
	ref := []byte{byte(back & 0x7f)}
	for back >>= 7; back > 0; back >>= 7 {
		back--
		ref = append([]byte{byte(back&0x7f) | 0x80}, ref...)
	}
	d := binary.AppendUvarint(binary.AppendUvarint(nil, from), size)
	for left := size; left > 0; {
		n := min(left, 0xffff)
		d = append(d, 0x80|0x10|0x20, byte(n), byte(n>>8))
		left -= n
	}
	return p.entry(packOfs, int64(len(d)), ref, d)
}

func lintBytes(t *testing.T, b []byte, lim Limits) error {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "pack")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	_, err = lint(f, lim.withDefaults())
	return err
}

func hostilePacks() map[string]struct {
	b     []byte
	class sync.Class
} {
	base := bytes.Repeat([]byte("x"), 0xffff)
	one := func(kind byte, declared int64, content []byte) []byte {
		var p packer
		p.entry(kind, declared, nil, content)
		return p.pack()
	}
	var bomb, sum, chain, unknown, wrong packer
	b := bomb.entry(packBlob, int64(len(base)), nil, base)
	bomb.ofs(b, uint64(len(base)), 256<<20)
	b = sum.entry(packBlob, int64(len(base)), nil, base)
	for range 20 {
		sum.ofs(b, uint64(len(base)), 60<<20)
	}
	b = chain.entry(packBlob, int64(len(base)), nil, base)
	for range 300 {
		b = chain.ofs(b, uint64(len(base)), uint64(len(base)))
	}
	unknown.entry(packOfs, 4, []byte{5}, []byte("abcd"))
	b = wrong.entry(packBlob, 3, nil, []byte("abc"))
	wrong.ofs(b, 1000, 10)
	return map[string]struct {
		b     []byte
		class sync.Class
	}{
		"blob of 65 MiB":         {one(packBlob, 65<<20, make([]byte, 65<<20)), sync.OverLimit},
		"blob that only says so": {one(packBlob, 1<<40, []byte("x")), sync.OverLimit},
		"commit of 65 KiB":       {one(packCommit, 65<<10, make([]byte, 65<<10)), sync.OverLimit},
		"tag of 65 KiB":          {one(packTag, 65<<10, make([]byte, 65<<10)), sync.OverLimit},
		"tree of 5 MiB":          {one(packTree, 5<<20, make([]byte, 5<<20)), sync.OverLimit},
		"delta bomb":             {bomb.pack(), sync.OverLimit},
		"many delta bombs":       {sum.pack(), sync.OverLimit},
		"long delta chain":       {chain.pack(), sync.OverLimit},
		"longer than it says":    {one(packBlob, 5, []byte("0123456789")), sync.BadData},
		"shorter than it says":   {one(packBlob, 50, []byte("0123456789")), sync.BadData},
		"base not in the pack":   {unknown.pack(), sync.BadData},
		"delta on another size":  {wrong.pack(), sync.BadData},
		"unknown type":           {one(5, 1, []byte("x")), sync.BadData},
		"count lies":             {append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x09"), one(packBlob, 1, []byte("x"))[12:]...), sync.BadData},
		"a million and one":      {append([]byte("PACK\x00\x00\x00\x02\x00\x0f\x42\x41"), one(packBlob, 1, []byte("x"))[12:]...), sync.OverLimit},
		"more after the end":     {append(one(packBlob, 1, []byte("x")), 0), sync.BadData},
		"no pack":                {[]byte("<html>"), sync.BadData},
	}
}

func TestLint(t *testing.T) {
	for name, c := range hostilePacks() {
		if err := lintBytes(t, c.b, Limits{}); classFrom(err) != c.class {
			t.Errorf("%s: %v, want %s", name, err, c.class)
		}
	}
	var p packer
	b := p.entry(packBlob, 0xffff, nil, bytes.Repeat([]byte("x"), 0xffff))
	for range 200 {
		p.ofs(b, 0xffff, 1000)
	}
	if err := lintBytes(t, p.pack(), Limits{}); err != nil {
		t.Errorf("an honest pack: %v", err)
	}
}

// Every byte of a small pack is cut off or changed once: nothing panics, and
// what is cut is refused.
func TestLintDamage(t *testing.T) {
	var p packer
	b := p.entry(packBlob, 5, nil, []byte("hello"))
	p.ofs(b, 5, 4)
	good := p.pack()
	for i := range good {
		if err := lintBytes(t, good[:i], Limits{}); err == nil {
			t.Errorf("cut at %d of %d is taken", i, len(good))
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		lintBytes(t, bad, Limits{})
	}
}

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

package fetch

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// attack is one thing that a hostile server does. Of u, http, raw and ssh one is
// set: u is made over both transports.
type attack struct {
	name    string
	u       *upload
	handler func(http.ResponseWriter, *http.Request, <-chan struct{})
	raw     func(net.Conn) // answers an HTTP request
	tcp     func(net.Conn) // what an SSH server is expected to be
	ssh     *sshHost
	lim     Limits
	only    string // the one transport of an attack that both have
	class   sync.Class
	verdict sync.VerdictName // of root, where an answer gets that far
}

var noTip = strings.Repeat("a", 40)

// hostileTips are the attacks by what is said before any pack.
func hostileTips() []attack {
	advert := func(f func(*peer)) *upload { return &upload{tip: noTip, advert: f} }
	refs := func(f func(*peer)) *upload { return &upload{tip: noTip, refs: f} }
	short := Limits{Poll: time.Second}
	biggest := pkt(noTip + " refs/heads/" + strings.Repeat("x", 65516-53))
	var million strings.Builder
	for i := range 1_000_000 {
		million.WriteString(pkt(fmt.Sprintf("%040x refs/heads/%d\n", i, i)))
	}
	refsV0 := pkt(noTip + " HEAD\x00multi_ack side-band-64k ofs-delta\n")
	return []attack{
		{name: "hangs at once", u: advert((*peer).hang), lim: short, class: sync.TimedOut},
		{name: "hangs when asked for the branch", u: refs((*peer).hang), lim: short, class: sync.TimedOut},
		{name: "hangs when the fetching process asks", u: refs(func(p *peer) {
			if p.asked > 0 {
				p.hang()
			}
			p.say(pkt(noTip+" refs/heads/main\n") + flushPkt)
		}), lim: Limits{Fetch: 2 * time.Second}, class: sync.TimedOut},
		{name: "drips refs", u: refs(func(p *peer) {
			for p.say(pkt(noTip + " refs/heads/x\n")) {
				time.Sleep(20 * time.Millisecond)
			}
		}), lim: short, class: sync.TimedOut},
		{name: "a million refs", u: refs(func(p *peer) { p.say(million.String()) }), class: sync.OverLimit},
		{name: "a million refs, v0", u: advert(func(p *peer) { p.say(refsV0 + million.String()) }), class: sync.OverLimit},
		{name: "longest packets for ever", u: refs(func(p *peer) { p.forever(biggest) }), class: sync.OverLimit},
		{name: "empty packets for ever", u: advert(func(p *peer) { p.say("000eversion 2\n"); p.forever(strings.Repeat("0004", 1000)) }), class: sync.OverLimit},
		{name: "capabilities for ever", u: advert(func(p *peer) {
			p.say("000eversion 2\n")
			for i := 0; p.say(pkt(fmt.Sprint(i))); i++ {
			}
		}), class: sync.OverLimit},
		{name: "delimiters for ever", u: refs(func(p *peer) { p.forever(delimPkt) }), class: sync.BadData},
		{name: "service announced for ever", u: advert(func(p *peer) { p.forever(strings.Repeat(pkt("# service=x")+flushPkt, 1000)) }), class: sync.OverLimit},
		{name: "control characters in names", u: refs(func(p *peer) { p.say(pkt(noTip+" refs/heads/\x1b[2Jmain\n") + flushPkt) }), class: sync.MissingBranch},
		{name: "control characters in an error", u: advert(func(p *peer) { p.say(pkt("ERR \x1b[2J" + strings.Repeat("\x07\u202e", 10000))) }), class: sync.ServerError},
		{name: "sha256", u: advert(func(p *peer) { p.say("000eversion 2\n000cls-refs\n000afetch\n0019object-format=sha256\n0000") }), class: sync.BadData},
		{name: "no id", u: refs(func(p *peer) { p.say(pkt(strings.Repeat("G", 40)+" refs/heads/main\n") + flushPkt) }), class: sync.BadData},
		{name: "shallow, v0", u: advert(func(p *peer) { p.say(refsV0 + pkt("shallow "+noTip+"\n") + flushPkt) }), class: sync.BadData},
		{name: "nothing", u: advert(func(*peer) {}), only: "http", class: sync.BadData},
		{name: "no packet", u: refs(func(p *peer) { p.say("\xff\xff\xff\xff") }), class: sync.BadData},
	}
}

// hostileStreams are the attacks by how a pack is sent.
func hostileStreams() []attack {
	pack := func(f func(*peer)) *upload { return &upload{tip: noTip, pack: f} }
	begun := func(f func(*peer)) *upload {
		return pack(func(p *peer) {
			if p.say(pkt("packfile\n")) {
				f(p)
			}
		})
	}
	v0 := func(f func(*peer)) *upload {
		return &upload{advert: func(p *peer) {
			p.say(pkt(noTip+" refs/heads/main\x00side-band-64k ofs-delta\n") + flushPkt)
		}, pack: f}
	}
	drip := func(p *peer) {
		for p.say(pkt("\x02.")) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	full := func(band string) string { return pkt(band + strings.Repeat("x", 65515)) }
	return []attack{
		{name: "hangs before the pack", u: pack((*peer).hang), lim: Limits{Fetch: 2 * time.Second}, class: sync.TimedOut},
		{name: "hangs in the pack", u: begun(func(p *peer) { p.say(pkt("\x01PACK")); p.hang() }), lim: Limits{Fetch: 2 * time.Second}, class: sync.TimedOut},
		{name: "drips to the deadline", u: begun(drip), lim: Limits{Fetch: 2 * time.Second, MinRate: 1}, class: sync.TimedOut},
		{name: "drips too slowly", u: begun(drip), lim: Limits{Window: 500 * time.Millisecond, MinRate: 100_000}, class: sync.TimedOut},
		{name: "pack without end", u: begun(func(p *peer) { p.forever(full("\x01")) }), class: sync.OverLimit},
		{name: "pack without end, no bands", u: &upload{advert: func(p *peer) {
			p.say(pkt(noTip+" refs/heads/main\x00ofs-delta\n") + flushPkt)
		}, pack: func(p *peer) { p.say(pkt("NAK\n")); p.forever(strings.Repeat("x", 1<<16)) }}, class: sync.OverLimit},
		{name: "progress without end", u: begun(func(p *peer) { p.forever(full("\x02")) }), class: sync.OverLimit},
		{name: "errors without end", u: begun(func(p *peer) { p.forever(full("\x03")) }), class: sync.ServerError},
		{name: "empty bands without end", u: begun(func(p *peer) { p.forever(strings.Repeat(pkt("\x01"), 1000)) }), class: sync.OverLimit},
		{name: "no band", u: begun(func(p *peer) { p.forever("0004") }), class: sync.BadData},
		{name: "NAK without end", u: pack(func(p *peer) { p.forever(pkt("NAK\n")) }), class: sync.BadData},
		{name: "NAK without end, v0", u: v0(func(p *peer) { p.forever(pkt("NAK\n")) }), class: sync.BadData},
		{name: "ACK without end, v0", u: v0(func(p *peer) { p.forever(pkt("ACK " + noTip + " common\n")) }), class: sync.BadData},
		{name: "cut history", u: pack(func(p *peer) { p.say(pkt("shallow-info\n") + pkt("shallow "+noTip) + delimPkt) }), class: sync.BadData},
		{name: "cut packet", u: begun(func(p *peer) { p.say(full("\x01")[:300]) }), class: sync.BadData},
		{name: "nothing where the pack belongs", u: pack(func(*peer) {}), class: sync.BadData},
	}
}

// hostileContents are the attacks by what a pack holds.
func hostileContents(r *gitrig.Repo, good made) []attack {
	var list []attack
	bad := func(name string, class sync.Class, b func() []byte) {
		list = append(list, attack{name: name, u: &upload{tip: noTip, pack: sends(b)}, class: class})
	}
	commits := func(name string, class sync.Class, verdict sync.VerdictName, m made) {
		list = append(list, attack{name: name, u: &upload{tip: m.tip, pack: sends(func() []byte { return m.pack })}, class: class, verdict: verdict})
	}
	for name, p := range smallPacks() {
		bad(name, p.class, func() []byte { return p.b })
	}
	zeros := func(kind byte, declared int64, n int) func() []byte {
		return stdsync.OnceValue(func() []byte {
			var p packer
			p.entry(kind, declared, nil, make([]byte, n))
			return p.pack()
		})
	}
	ofs := func(n int) func(*packer, int) []byte { return func(*packer, int) []byte { return back(n) } }
	toBase := func(p *packer, base int) []byte { return back(p.Len() + 12 - base) }
	id := oid("blob", []byte("a"))
	byID := func(*packer, int) []byte { return id[:] }
	is := func(b []byte) func() []byte { return func() []byte { return b } }

	bad("huge commit", sync.OverLimit, zeros(packCommit, 64<<20, 64<<20))
	bad("huge tree", sync.OverLimit, zeros(packTree, 64<<20, 64<<20))
	bad("huge blob", sync.OverLimit, zeros(packBlob, 2<<30, 64<<20))
	bad("inflates beyond what it declares", sync.BadData, zeros(packBlob, 10, 64<<20))
	bad("bytes between the objects", sync.BadData, func() []byte {
		var p packer
		p.entry(packBlob, 1, nil, []byte("a"))
		p.WriteString("garbage")
		p.entry(packBlob, 1, nil, []byte("b"))
		return p.pack()
	})
	bad("a delta on itself", sync.BadData, is(oneDelta(packOfs, ofs(0), delta(100, 1, 1, 'x'))))
	bad("a delta before the pack", sync.BadData, is(oneDelta(packOfs, ofs(1<<40), delta(100, 1, 1, 'x'))))
	bad("a delta whose offset overflows", sync.BadData, is(oneDelta(packOfs, func(*packer, int) []byte {
		return append(bytes.Repeat([]byte{0xff}, 12), 0x7f)
	}, delta(100, 1, 1, 'x'))))
	bad("thin pack", sync.BadData, is(oneDelta(packRef, byID, delta(1, 1, 1, 'x'))))
	bad("a delta that makes more than it says", sync.BadData, is(oneDelta(packOfs, toBase, delta(100, 10, append(copyOp(0, 100), copyOp(0, 100)...)...))))
	bad("a delta that makes less than it says", sync.BadData, is(oneDelta(packOfs, toBase, delta(100, 200, copyOp(0, 100)...))))
	bad("a delta that copies from outside", sync.BadData, is(oneDelta(packOfs, toBase, delta(100, 100, copyOp(90, 100)...))))
	bad("a delta of an unknown instruction", sync.BadData, is(oneDelta(packOfs, toBase, delta(100, 100, 0))))
	bad("a delta with negative sizes", sync.BadData, is(oneDelta(packRef, byID, delta(-1, 1, 1, 'x'))))
	bad("deltas in a circle", sync.BadData, func() []byte {
		var p packer
		one, two := oid("blob", []byte("1")), oid("blob", []byte("2"))
		p.entry(packRef, 4, two[:], delta(1, 1, 1, '1'))
		p.entry(packRef, 4, one[:], delta(1, 1, 1, '2'))
		return p.pack()
	})
	bad("200,000 very small objects", sync.BadData, func() []byte { return manyBlobs(200_000) })
	list[len(list)-1].only = "http" // which makes no difference, and it is long
	bad("another commit than it said", sync.BadData, func() []byte { return deepTrees(1).pack })
	blob := made{fmt.Sprintf("%x", id), func() []byte { var p packer; p.object("blob", []byte("a")); return p.pack() }()}
	commits("a tip that is a file", sync.BadData, "", blob)
	var lacks packer
	commits("a commit without its tree", sync.BadData, "", lacks.tipped(id))
	commits("deltas by id, 5000 deep", sync.BadData, "", refChain(5000, 100))
	commits("deltas by id, 1500 deep, of 100 KiB", sync.Moved, sync.Fork, refChain(1500, 100<<10))
	list[len(list)-1].only = "http"
	commits("directories 1000 deep", sync.OverLimit, "", deepTrees(1000))
	commits("wide directories 60 deep", sync.OverLimit, "", wideTrees(60, 4<<20))
	commits("wide directories 20 deep", sync.OverLimit, "", wideTrees(20, 4<<20))
	commits("50,100 commits of nobody", sync.Moved, sync.Limit, manyCommits(50_100))
	commits("tree bomb of nobody", sync.Moved, sync.Unsigned, treeBomb(r, "", 12))
	commits("tree bomb, signed", sync.Moved, sync.Limit, treeBomb(r, "alice", 12))
	list = append(list, attack{name: "more after the pack", u: &upload{tip: good.tip, pack: sends(func() []byte { return append(bytes.Clone(good.pack), "more"...) })}, class: sync.BadData})
	return list
}

// over says whether the attack is made over a transport.
func (a attack) over(kind string) bool {
	return a.u != nil && (a.only == "" || a.only == kind) || a.u == nil && (kind == "http") == (a.handler != nil || a.raw != nil)
}

// serve starts the attack's server.
func (a attack) serve(tb testing.TB, kind string) (string, Auth) {
	switch {
	case kind == "http" && a.u != nil:
		return serveHTTP(tb, *a.u)
	case kind == "http" && a.handler != nil:
		return serveHandler(tb, a.handler)
	case kind == "http" && a.raw != nil:
		return serveRaw(tb, a.raw)
	case kind == "ssh" && a.u != nil:
		return serveSSH(tb, sshHost{u: *a.u})
	case kind == "ssh" && a.ssh != nil:
		return serveSSH(tb, *a.ssh)
	case kind == "ssh" && a.tcp != nil:
		host, _ := keyPair(tb)
		_, file := keyPair(tb)
		return sshTo(listen(tb, a.tcp), host, file)
	}
	return "", Auth{}
}

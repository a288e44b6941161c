package fetch

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// peer is the node, as a hostile server sees it.
type peer struct {
	io.Writer
	gone  <-chan struct{}
	asked int64 // how often the branch was asked for before, by anybody
}

// say gives false when nobody listens any more.
func (p *peer) say(s string) bool {
	select {
	case <-p.gone:
		return false
	default:
	}
	_, err := io.WriteString(p, s)
	if f, ok := p.Writer.(http.Flusher); ok && err == nil {
		f.Flush()
	}
	return err == nil
}

func (p *peer) forever(s string) {
	for p.say(s) {
	}
}

func (p *peer) hang() { <-p.gone }

// upload is a git-upload-pack of protocol v2. What is nil is honest.
type upload struct {
	tip    string
	advert func(*peer)
	refs   func(*peer)
	pack   func(*peer)
}

const v2 = "000eversion 2\n000cls-refs\n000afetch\n0017object-format=sha1\n0000"

// part says one part of the conversation.
func (u upload) part(name string, p *peer) {
	switch {
	case name == "advert" && u.advert != nil:
		u.advert(p)
	case name == "advert":
		p.say(v2)
	case name == "refs" && u.refs != nil:
		u.refs(p)
	case name == "refs":
		p.say(pkt(u.tip+" refs/heads/main\n") + flushPkt)
	case name == "pack":
		u.pack(p)
	}
}

// sends gives a pack that is sent as it is, in the side band.
func sends(b func() []byte) func(*peer) {
	return func(p *peer) {
		if p.say(pkt("packfile\n")) {
			bands(p, b())
			p.say(flushPkt)
		}
	}
}

// serveHTTP serves an upload-pack by the smart HTTP protocol.
func serveHTTP(tb testing.TB, u upload) (string, Auth) {
	var asked atomic.Int64
	return serveHandler(tb, func(w http.ResponseWriter, r *http.Request, gone <-chan struct{}) {
		body, _ := io.ReadAll(r.Body) // only then the end of the connection is seen
		p := &peer{Writer: w, gone: gone}
		kind, part := "result", "pack"
		switch {
		case r.Method == http.MethodGet:
			kind, part = "advertisement", "advert"
		case strings.Contains(string(body), "command=ls-refs"):
			part = "refs"
			p.asked = asked.Add(1) - 1
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-"+kind)
		if part == "advert" {
			p.say(pkt("# service=git-upload-pack\n") + flushPkt)
		}
		u.part(part, p)
	})
}

// serveHandler serves HTTP whose handlers end with the test at the latest.
func serveHandler(tb testing.TB, h func(http.ResponseWriter, *http.Request, <-chan struct{})) (string, Auth) {
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		both, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		h(w, r, both.Done())
	}))
	s.Config.ErrorLog = nil
	tb.Cleanup(func() {
		cancel()
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/repo/.git", Auth{}
}

// listen hands every connection to serve, until the test ends.
func listen(tb testing.TB, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tb.Cleanup(func() { c.Close() })
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// serveRaw answers every request of a connection by bytes.
func serveRaw(tb testing.TB, answer func(net.Conn)) (string, Auth) {
	return "http://" + listen(tb, func(c net.Conn) {
		defer c.Close()
		in := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			answer(c)
		}
	}) + "/repo/.git", Auth{}
}

// keyPair makes an SSH key, and its private half as a file.
func keyPair(tb testing.TB) (ssh.Signer, string) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		tb.Fatal(err)
	}
	return signer, file
}

// sshTo is the address of an SSH server and what lets a node in.
func sshTo(addr string, host ssh.Signer, keyFile string) (string, Auth) {
	return "ssh://git@" + addr + "/repo", Auth{KeyFile: keyFile, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey()))}
}

// sshHost is an SSH server that can do what an honest one does not. What is nil
// is honest.
type sshHost struct {
	conf func(*ssh.ServerConfig)
	in   func(*ssh.ServerConn)                // beside everything else, once somebody is let in
	exec func(ssh.Channel, *ssh.Request) bool // false: go on with the upload-pack
	end  func(ssh.Channel, <-chan struct{})   // instead of the end of the channel
	u    upload
}

func serveSSH(tb testing.TB, h sshHost) (string, Auth) {
	host, _ := keyPair(tb)
	_, file := keyPair(tb)
	conf := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	conf.AddHostKey(host)
	if h.conf != nil {
		h.conf(conf)
	}
	var asked atomic.Int64
	addr := listen(tb, func(c net.Conn) {
		defer c.Close()
		conn, chans, reqs, err := ssh.NewServerConn(c, conf)
		if err != nil {
			return
		}
		gone := make(chan struct{})
		go func() { conn.Wait(); close(gone) }()
		go ssh.DiscardRequests(reqs)
		if h.in != nil {
			go h.in(conn)
		}
		for n := range chans {
			ch, reqs, err := n.Accept()
			if err != nil {
				return
			}
			go h.session(ch, reqs, gone, &asked)
		}
	})
	return sshTo(addr, host, file)
}

func (h sshHost) session(ch ssh.Channel, reqs <-chan *ssh.Request, gone <-chan struct{}, asked *atomic.Int64) {
	for r := range reqs {
		if r.Type != "exec" {
			r.Reply(true, nil)
			continue
		}
		if h.exec != nil && h.exec(ch, r) {
			continue
		}
		r.Reply(true, nil)
		go ssh.DiscardRequests(reqs)
		h.u.converse(&peer{Writer: ch, gone: gone}, ch, asked)
		if h.end != nil {
			h.end(ch, gone)
		}
		ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
		ch.Close()
		return
	}
}

// converse is an upload-pack over one stream in both directions.
func (u upload) converse(p *peer, in io.Reader, asked *atomic.Int64) {
	u.part("advert", p)
	r := newPktReader(in, 1<<20, "request")
	command := ""
	for {
		kind, b, err := r.next()
		line := strings.TrimSpace(string(b))
		switch {
		case err != nil, kind == pktFlush && command == "":
			return
		case strings.HasPrefix(line, "command="):
			command = line
		case strings.HasPrefix(line, "want ") && command == "": // of v0
			command = "v0"
		case command == "v0" && line == "done", command == "command=fetch" && kind == pktFlush:
			u.part("pack", p)
			return
		case command == "command=ls-refs" && kind == pktFlush:
			p.asked = asked.Add(1) - 1
			u.part("refs", p)
			command = ""
		}
	}
}

// stranger is another origin, which nobody should ask.
type stranger struct {
	url   string
	asked atomic.Int64
}

func newStranger(tb testing.TB) *stranger {
	s := &stranger{}
	s.url, _ = serveHandler(tb, func(http.ResponseWriter, *http.Request, <-chan struct{}) { s.asked.Add(1) })
	return s
}

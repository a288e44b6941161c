package fetch

import (
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pullnode/sync"
)

// hostileHTTP are the attacks that only HTTP allows.
func hostileHTTP(stranger string) []attack {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n"
	service := pkt("# service=git-upload-pack\n") + flushPkt
	raw := func(name string, class sync.Class, first, forever string) attack {
		return attack{name: name, class: class, raw: func(c net.Conn) {
			_, err := io.WriteString(c, first)
			for err == nil && forever != "" {
				_, err = io.WriteString(c, forever)
			}
			c.Close()
		}}
	}
	return []attack{
		{name: "redirects to another origin", class: sync.NotFound, handler: func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			http.Redirect(w, r, stranger, http.StatusFound)
		}},
		{name: "redirects in a circle", class: sync.NotFound, handler: func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			http.Redirect(w, r, r.URL.String(), http.StatusFound)
		}},
		{name: "gzip bomb", class: sync.BadData, handler: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write([]byte(service + v2))
			for range 500 {
				z.Write(make([]byte, 1<<20))
			}
			z.Close()
		}},
		{name: "error page without end", class: sync.ServerError, handler: func(w http.ResponseWriter, _ *http.Request, gone <-chan struct{}) {
			w.WriteHeader(500)
			(&peer{Writer: w, gone: gone}).forever(strings.Repeat("x", 1<<16))
		}},
		{name: "retry after a year", class: sync.Throttled, handler: func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			w.Header().Set("Retry-After", "31536000")
			w.WriteHeader(429)
		}},
		raw("declares less than it sends", sync.BadData, head+"Content-Length: 40\r\n\r\n"+service+v2, ""),
		raw("declares more than it sends", sync.BadData, head+"Content-Length: 99999999999\r\n\r\n"+service+v2[:20], ""),
		raw("declares a negative length", sync.Unreachable, head+"Content-Length: -5\r\n\r\n"+service+v2, ""),
		raw("declares two lengths", sync.Unreachable, head+"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"+service+v2, ""),
		raw("headers without end", sync.Unreachable, head, "X: "+strings.Repeat("x", 1000)+"\r\n"),
		raw("a header line without end", sync.Unreachable, head+"X: ", strings.Repeat("x", 1<<16)),
		raw("continues without end", sync.Unreachable, "", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"),
		raw("chunk extensions without end", sync.Unreachable, head+"Transfer-Encoding: chunked\r\n\r\n1;", strings.Repeat("x", 1<<16)),
		raw("one byte a chunk without end", sync.OverLimit, head+"Transfer-Encoding: chunked\r\n\r\n5\r\n000ev\r\n9\r\nersion 2\n\r\n", strings.Repeat("1\r\n0\r\n1\r\n0\r\n1\r\n0\r\n1\r\n4\r\n", 1000)),
		raw("another protocol", sync.ServerError, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", strings.Repeat("\x00", 1<<16)),
		raw("HTTP/2", sync.Unreachable, "\x00\x00\x12\x04\x00\x00\x00\x00\x00", strings.Repeat("\x00", 1<<16)),
	}
}

// hostileSSH are the attacks that only SSH allows.
func hostileSSH() []attack {
	short := Limits{Poll: time.Second}
	honest := upload{tip: noTip}
	forever := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			}
		}
	}
	floods := func(f func(*ssh.ServerConn) error) *sshHost {
		return &sshHost{u: upload{tip: noTip, refs: (*peer).hang}, in: func(c *ssh.ServerConn) {
			for f(c) == nil {
			}
		}}
	}
	return []attack{
		{name: "never shakes hands", tcp: func(c net.Conn) { io.Copy(io.Discard, c) }, lim: short, class: sync.TimedOut},
		{name: "lines before its version without end", tcp: forever("hello\r\n"), class: sync.Unreachable},
		{name: "a version without end", tcp: forever("SSH-2.0-"), class: sync.Unreachable},
		{name: "closes after its version", tcp: func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); c.Close() }, class: sync.Unreachable},
		{name: "the longest packet there is", tcp: func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-x\r\n\xff\xff\xff\xff"+strings.Repeat("\xff", 100))
			io.Copy(io.Discard, c)
		}, class: sync.Unreachable},
		{name: "messages to ignore without end", tcp: func(c net.Conn) {
			io.WriteString(c, "SSH-2.0-x\r\n")
			forever("\x00\x00\x00\x0c\x0a\x02\x00\x00\x00\x00" + strings.Repeat("x", 6))(c)
		}, class: sync.OverLimit},
		{name: "another host key", ssh: &sshHost{u: honest, conf: func(c *ssh.ServerConfig) {
			*c = ssh.ServerConfig{PublicKeyCallback: c.PublicKeyCallback}
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			other, _ := ssh.NewSignerFromSigner(key)
			c.AddHostKey(other)
		}}, class: sync.HostKey},
		{name: "banners without end", ssh: &sshHost{u: honest, conf: func(c *ssh.ServerConfig) {
			c.PreAuthConnCallback = func(p ssh.ServerPreAuthConn) {
				for p.SendAuthBanner(strings.Repeat("x", 30000)) == nil {
				}
			}
		}}, class: sync.OverLimit},
		{name: "never lets in", ssh: &sshHost{u: honest, conf: func(c *ssh.ServerConfig) {
			c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { select {} }
		}}, lim: short, class: sync.TimedOut},
		{name: "never answers the command", ssh: &sshHost{u: honest, exec: func(ssh.Channel, *ssh.Request) bool { return true }}, lim: short, class: sync.TimedOut},
		{name: "refuses the command", ssh: &sshHost{u: honest, exec: func(_ ssh.Channel, r *ssh.Request) bool { r.Reply(false, nil); return true }}, class: sync.Unreachable},
		{name: "error channel without end", ssh: &sshHost{u: upload{tip: noTip, refs: (*peer).hang}, exec: func(ch ssh.Channel, _ *ssh.Request) bool {
			go func() {
				for {
					if _, err := ch.Stderr().Write(make([]byte, 1<<15)); err != nil {
						return
					}
				}
			}()
			return false
		}}, class: sync.OverLimit},
		{name: "requests without end", ssh: floods(func(c *ssh.ServerConn) error {
			_, _, err := c.SendRequest("x", false, make([]byte, 30000))
			return err
		}), class: sync.OverLimit},
		{name: "requests for an answer without end", ssh: floods(func(c *ssh.ServerConn) error {
			_, _, err := c.SendRequest("x", true, make([]byte, 30000))
			return err
		}), class: sync.OverLimit},
		{name: "channels without end", ssh: floods(func(c *ssh.ServerConn) error {
			_, _, err := c.OpenChannel("forwarded-tcpip", make([]byte, 30000))
			if err != nil && strings.Contains(err.Error(), "rejected") {
				err = nil
			}
			return err
		}), class: sync.OverLimit},
		{name: "never ends the session", ssh: &sshHost{u: upload{tip: noTip, refs: func(p *peer) { p.say(pkt(noTip+" HEAD\n") + flushPkt) }}, end: func(_ ssh.Channel, gone <-chan struct{}) { <-gone }}, lim: short, class: sync.MissingBranch},
		{name: "goes on after the end", ssh: &sshHost{u: upload{tip: noTip, refs: func(p *peer) { p.say(pkt(noTip+" HEAD\n") + flushPkt) }}, end: func(ch ssh.Channel, gone <-chan struct{}) {
			(&peer{Writer: ch, gone: gone}).forever(strings.Repeat("x", 1<<15))
		}}, class: sync.MissingBranch},
	}
}

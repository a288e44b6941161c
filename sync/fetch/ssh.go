package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pullnode/sync"
)

// sshLink runs git-upload-pack over SSH. The connection is kept; each session
// is a new channel in it. The server must hold the pinned key: there is no
// trust on first use.
type sshLink struct {
	addr, path string
	conf       *ssh.ClientConfig
	meter      *meter
	client     *ssh.Client
}

func newSSHLink(u *url.URL, s Secret, m *meter) (link, error) {
	if _, has := u.User.Password(); has {
		return nil, fail(sync.AuthFailed, "the url of the remote holds a password; SSH takes a key by keyFile")
	}
	pins, err := hostKeys(s.HostKey)
	if err != nil {
		return nil, err
	}
	if s.Key == "" {
		return nil, fail(sync.AuthFailed, "no SSH key is set for this remote (keyFile)")
	}
	signer, err := ssh.ParsePrivateKey([]byte(s.Key))
	if err != nil {
		return nil, fail(sync.AuthFailed, "the SSH key cannot be read: it is damaged or has a passphrase")
	}
	l := &sshLink{path: u.Path, meter: m, addr: net.JoinHostPort(u.Hostname(), or0(u.Port(), "22"))}
	if p, ok := strings.CutPrefix(l.path, "/~"); ok {
		l.path = "~" + p
	}
	if u.Hostname() == "" || l.path == "" || strings.ContainsAny(l.path, "\x00\n") {
		return nil, fail(Internal, "%.200q is no address of a git repository", u.Redacted())
	}
	l.conf = &ssh.ClientConfig{
		User:            or0(u.User.Username(), "git"),
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: pinned(pins),
	}
	for _, k := range pins {
		if k.Type() == ssh.KeyAlgoRSA {
			l.conf.HostKeyAlgorithms = append(l.conf.HostKeyAlgorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		l.conf.HostKeyAlgorithms = append(l.conf.HostKeyAlgorithms, k.Type())
	}
	return l, nil
}

func or0(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// hostKeys reads the pinned keys, one a line, as in known_hosts or a .pub file.
func hostKeys(text string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if strings.HasPrefix(line, "@") || len(f) < 2 {
			return nil, fail(sync.HostKey, "the pinned host key %.40q is no plain known_hosts or .pub line", line)
		}
		if !strings.HasPrefix(f[1], "AAAA") { // known_hosts: host names stand in front
			f = f[1:]
		}
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(f, " ")))
		if err != nil {
			return nil, fail(sync.HostKey, "the pinned host key %.40q cannot be read", line)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fail(sync.HostKey, "no host key is pinned for this remote (hostKey)")
	}
	return keys, nil
}

func pinned(keys []ssh.PublicKey) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		for _, k := range keys {
			if bytes.Equal(k.Marshal(), key.Marshal()) {
				return nil
			}
		}
		return fail(sync.HostKey, "the server's host key %s is not the pinned one", ssh.FingerprintSHA256(key))
	}
}

func (l *sshLink) kind() string    { return "" }
func (l *sshLink) stateless() bool { return false }

func (l *sshLink) close() {
	if l.client != nil {
		l.client.Close()
		l.client = nil
	}
}

func (l *sshLink) dial(ctx context.Context) error {
	c, err := dialer().DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(meteredConn{c, l.meter}, l.addr, l.conf)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return sshError(err)
	}
	l.client = ssh.NewClient(conn, chans, reqs)
	return nil
}

func sshError(err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fail(sync.AuthFailed, "the server refuses the SSH key")
	case strings.Contains(err.Error(), "no common algorithm for host key"):
		return fail(sync.HostKey, "the server has no host key of the pinned kind")
	}
	return err
}

func (l *sshLink) open(ctx context.Context) (session, error) {
	if l.client != nil {
		if s, err := l.channel(ctx); err == nil {
			return s, nil
		}
		l.close() // the kept connection is gone: that is no failure yet
	}
	if err := l.dial(ctx); err != nil {
		return nil, err
	}
	s, err := l.channel(ctx)
	if err != nil {
		l.close()
	}
	return s, err
}

func (l *sshLink) channel(ctx context.Context) (session, error) {
	client := l.client
	// A channel has no deadline of its own: when time is over the connection
	// goes with it.
	stop := context.AfterFunc(ctx, func() { client.Close() })
	ch, err := client.NewSession()
	if err != nil {
		stop()
		return nil, err
	}
	s := &sshSession{ch: ch, stop: stop, drop: client.Close}
	ch.Stderr = &s.said
	// Servers that do not accept the variable answer in v0.
	_ = ch.Setenv("GIT_PROTOCOL", "version=2")
	if s.in, err = ch.StdinPipe(); err == nil {
		if s.out, err = ch.StdoutPipe(); err == nil {
			err = ch.Start("git-upload-pack '" + strings.ReplaceAll(l.path, "'", `'\''`) + "'")
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

type sshSession struct {
	ch   *ssh.Session
	stop func() bool
	drop func() error // ends the connection
	in   io.WriteCloser
	out  io.Reader
	said tail
}

func (s *sshSession) advert() (io.Reader, error) { return s.out, nil }

func (s *sshSession) ask(body string) (io.Reader, error) {
	_, err := io.WriteString(s.in, body)
	return s.out, err
}

// sessionEnd is how long a session may take to end once nothing is asked any more.
const sessionEnd = 5 * time.Second

func (s *sshSession) close() error {
	if s.in != nil {
		io.WriteString(s.in, flushPkt) // a v0 server waits for this to end in peace
		s.in.Close()
	}
	// The error text comes before the end of the channel: wait for that, but not
	// as long as the context would. What is still sent is not wanted.
	late := time.AfterFunc(sessionEnd, func() { s.drop() })
	defer late.Stop()
	if s.out != nil {
		io.CopyN(io.Discard, s.out, 64<<10)
	}
	s.ch.Close()
	s.ch.Wait()
	s.stop()
	return s.said.reason()
}

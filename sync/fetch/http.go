package fetch

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pullnode/sync"
)

// httpLink speaks git's smart HTTP protocol (gitprotocol-http) over one kept
// HTTP/1.1 connection.
type httpLink struct {
	base   *url.URL
	auth   string
	client *http.Client
}

func newHTTPLink(u *url.URL, s Secret, lim Limits, m *meter) (link, error) {
	if u.User != nil {
		return nil, fail(sync.AuthFailed, "the url of the remote holds credentials; give them by tokenFile")
	}
	if u.RawQuery != "" || u.Fragment != "" || u.Host == "" {
		return nil, fail(Internal, "%.200q is no address of a git repository", u.Redacted())
	}
	l := &httpLink{base: u}
	if s.Token != "" {
		if u.Scheme != "https" && !loopback(u.Hostname()) {
			return nil, fail(sync.AuthFailed, "the token is not sent over plain http: use https")
		}
		pair := s.Token
		if !strings.Contains(pair, ":") {
			pair = "x-access-token:" + pair // forges take any user name beside a token
		}
		l.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	}
	d := dialer()
	l.client = &http.Client{CheckRedirect: l.redirect, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return meteredConn{c, m}, nil
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    lim.Poll,
		MaxConnsPerHost:        1,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true, // packs are compressed already, and a small answer cannot grow
		ReadBufferSize:         4 << 10,
		WriteBufferSize:        4 << 10,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
	return l, nil
}

// dialer notices within seconds that the far end of a kept connection is gone:
// a poll then goes on over a new one and does not wait for its deadline.
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 3},
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			cerr := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000)
			})
			return errors.Join(cerr, err)
		},
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// redirect follows only within one origin and only where no request body is at
// stake. Anything else would hand the choice of the server, and the credential,
// to whoever answers.
func (l *httpLink) redirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if req.URL.Scheme != first.Scheme || req.URL.Host != first.Host {
		return fail(sync.NotFound, "the server redirects to %.200q: that is another origin, set the url to it if it is right", req.URL.Redacted())
	}
	if via[0].Method != http.MethodGet || len(via) > 3 {
		return fail(sync.NotFound, "the server redirects too often")
	}
	return nil
}

func (l *httpLink) kind() string    { return "" }
func (l *httpLink) stateless() bool { return true }
func (l *httpLink) close()          { l.client.CloseIdleConnections() }
func (l *httpLink) open(ctx context.Context) (session, error) {
	return &httpSession{l: l, ctx: ctx}, nil
}

type httpSession struct {
	l    *httpLink
	ctx  context.Context
	body io.ReadCloser
}

const service = "git-upload-pack"

func (s *httpSession) advert() (io.Reader, error) {
	u := *s.l.base
	u.Path = strings.TrimSuffix(u.Path, "/") + "/info/refs"
	u.RawQuery = "service=" + service
	return s.send(http.MethodGet, &u, "", service+"-advertisement")
}

func (s *httpSession) ask(body string) (io.Reader, error) {
	u := *s.l.base
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + service
	return s.send(http.MethodPost, &u, body, service+"-result")
}

func (s *httpSession) send(method string, u *url.URL, body, kind string) (io.Reader, error) {
	s.drain()
	req, err := http.NewRequestWithContext(s.ctx, method, u.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header["User-Agent"] = []string{"git/pullnode"}
	req.Header["Git-Protocol"] = []string{"version=2"}
	if s.l.auth != "" {
		req.Header["Authorization"] = []string{s.l.auth}
	}
	if method == http.MethodPost {
		req.Header["Content-Type"] = []string{"application/x-" + service + "-request"}
		// Reading twice harms nothing: this lets net/http try again by itself
		// when the kept connection turns out to be closed. It is not sent.
		req.Header["X-Idempotency-Key"] = nil
	}
	res, err := s.l.client.Do(req)
	if err != nil {
		var own *Error
		if errors.As(err, &own) {
			return nil, own
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which the report names anyway
		}
		return nil, err
	}
	s.body = res.Body
	if err := statusError(res); err != nil {
		return nil, err
	}
	if got := res.Header.Get("Content-Type"); got != "application/x-"+kind {
		return nil, fail(sync.BadData, "the server answers with %.60q: this is no git repository", got)
	}
	if method == http.MethodGet {
		if p, ok := strings.CutSuffix(res.Request.URL.Path, "/info/refs"); ok {
			moved := *s.l.base
			moved.Path, moved.RawPath = p, ""
			s.l.base = &moved // as git does after a redirect
		}
	}
	return res.Body, nil
}

// drain reads the rest of an answer, without which the connection cannot be
// used again, but not more than an end can be.
func (s *httpSession) drain() {
	if s.body != nil {
		io.CopyN(io.Discard, s.body, 4<<10)
		s.body.Close()
		s.body = nil
	}
}

func (s *httpSession) close() error {
	s.drain()
	return nil
}

// maxRetryAfter bounds how long a server may silence a node.
const maxRetryAfter = 24 * time.Hour

func statusError(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	e := &Error{HTTPStatus: res.StatusCode, Text: fmt.Sprintf("the server answers %d %s", res.StatusCode, http.StatusText(res.StatusCode))}
	e.RetryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
	switch c := res.StatusCode; {
	case c == http.StatusTooManyRequests, e.RetryAfter > 0 && (c == http.StatusServiceUnavailable || c == http.StatusForbidden):
		e.Class = sync.Throttled
		return e
	case c == http.StatusUnauthorized, c == http.StatusForbidden:
		e.Class = sync.AuthFailed
	case c == http.StatusNotFound, c == http.StatusGone, c >= 300 && c < 400:
		e.Class = sync.NotFound
	default:
		e.Class = sync.ServerError
	}
	e.RetryAfter = 0
	return e
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3); 0 is none.
func retryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v != "" && strings.Trim(v, "0123456789") == "" {
		n, err := strconv.Atoi(v)
		if err != nil || n > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	d := t.Sub(now)
	return min(max(d, 0), maxRetryAfter)
}

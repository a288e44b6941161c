package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/registry"
)

// KeyServer gives hosts their identities, each only its own, over a TLS session
// with the client's certificate. Its directory is read anew for each question,
// so that a deny works at once:
//
//	hosts/<name>.json  what may be released: HostRule
//	hosts/<name>.age   the identity, sealed when Unlock says for what
//
// It writes down every question. It never logs a key.
type KeyServer struct {
	Dir    string
	Unlock string // what the identities are sealed for, as the setting "unlock"
	Audit  *Audit // nil is none
	Log    *slog.Logger

	mu    sync.Mutex
	given map[string][]time.Time // releases of the last hours, by host
}

// HostRule says when a host gets its identity.
type HostRule struct {
	// SSHKey is the host's public SSH key; only who holds its private half gets
	// an answer.
	SSHKey string `json:"sshKey"`
	// Deny refuses the host, for the reason given: it was stolen, it is gone.
	Deny string `json:"deny,omitempty"`
	// From are the networks that it may ask from, "10.1.0.0/16"; empty is all.
	From []string `json:"from,omitempty"`
	// NotAfter refuses it from then on; none when zero.
	NotAfter time.Time `json:"notAfter,omitzero"`
	// PerHour is how often it may ask within an hour; default 30.
	PerHour int `json:"perHour,omitempty"`
}

const defaultPerHour = 30

// denial is an answer that tells the host no more than it may know; the reason is
// in the audit.
type denial struct {
	status int
	reason string
}

func (d *denial) Error() string { return d.reason }

func deny(format string, args ...any) error {
	return &denial{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

// ServeHTTP is http.Handler's. The request must have come over TLS 1.3 with a
// verified certificate.
func (s *KeyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != serverPath {
		http.Error(w, "no such thing", http.StatusNotFound)
		return
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		http.Error(w, "no certificate", http.StatusForbidden)
		return
	}
	host := r.TLS.PeerCertificates[0].Subject.CommonName
	event := Event{Event: "release", Host: clip(host), From: r.RemoteAddr}
	answer, recipient, err := s.release(r, host)
	event.Recipient = recipient
	if err != nil {
		event.Event, event.Error = "deny", err.Error()
		if d := (*denial)(nil); !errors.As(err, &d) {
			event.Event = "fail"
		}
	}
	s.log().Info(event.Event, "host", event.Host, "from", event.From, "err", err)
	// Unlike a host's own audit this one is why the server exists: without its
	// line nothing is released.
	if auditErr := s.Audit.write(event); auditErr != nil {
		s.log().Error("cannot write the audit file", "err", auditErr)
		http.Error(w, "the server cannot write its audit", http.StatusServiceUnavailable)
		return
	}
	switch d := (*denial)(nil); {
	case errors.As(err, &d):
		http.Error(w, "see the audit of the key server for the reason", d.status)
	case err != nil:
		http.Error(w, "the key server cannot read this host's files", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(answer)
	}
}

func (s *KeyServer) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// release gives the answer to a host that may have it.
func (s *KeyServer) release(r *http.Request, host string) (answer []byte, recipient string, err error) {
	if !plainName(host) {
		return nil, "", deny("the certificate is for %q, which is no host name", clip(host))
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 16<<10))
	if err != nil {
		return nil, "", deny("read the request: %v", err)
	}
	var req serverRequest
	if err := registry.Strict(raw, &req); err != nil {
		return nil, "", deny("request: %v", err)
	}
	rule, err := s.rule(r.Context(), host)
	if err != nil {
		return nil, "", err
	}
	proof, err := serverProof(*r.TLS, host, req.Ephemeral)
	if err != nil {
		return nil, "", err
	}
	if err := rule.proved(proof, req); err != nil {
		return nil, "", err
	}
	if err := rule.allows(r.RemoteAddr, time.Now()); err != nil {
		return nil, "", err
	}
	to, err := age.ParseX25519Recipient(req.Ephemeral)
	if err != nil {
		return nil, "", deny("the answer's recipient is none")
	}
	if err := s.count(host, rule.PerHour); err != nil {
		return nil, "", err
	}
	return s.seal(r.Context(), host, to)
}

// plainName tells whether a name is safe as a file's and has nothing to hide.
func plainName(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64 && s[0] != '.'
}

func (s *KeyServer) file(host, ext string) string {
	return filepath.Join(s.Dir, "hosts", host+ext)
}

func (s *KeyServer) rule(ctx context.Context, host string) (HostRule, error) {
	var rule HostRule
	// Whoever may change the rules may have the keys.
	raw, err := readPrivate(ctx, s.file(host, ".json"), 0o022)
	if errors.Is(err, ErrAbsent) {
		return rule, deny("there is no such host")
	}
	if err == nil {
		err = registry.Strict(raw, &rule)
	}
	if err != nil {
		return rule, fmt.Errorf("%s: %w", s.file(host, ".json"), err)
	}
	return rule, nil
}

// proved checks that the host's SSH key signed this very session.
func (h HostRule) proved(proof []byte, req serverRequest) error {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.SSHKey))
	if err != nil {
		return fmt.Errorf("sshKey: is no public SSH key (ssh-ed25519 AAAA...)")
	}
	if err := pub.Verify(proof, &ssh.Signature{Format: req.Format, Blob: req.Signature}); err != nil {
		return deny("the SSH host key did not sign this session")
	}
	return nil
}

func (h HostRule) allows(remote string, now time.Time) error {
	if h.Deny != "" {
		return deny("denied by rule: %s", h.Deny)
	}
	if !h.NotAfter.IsZero() && now.After(h.NotAfter) {
		return deny("only until %s", h.NotAfter.Format(time.RFC3339))
	}
	if len(h.From) == 0 {
		return nil
	}
	addr, _, err := net.SplitHostPort(remote)
	ip := net.ParseIP(addr)
	if err != nil || ip == nil {
		return deny("asks from %q, which is no address", clip(remote))
	}
	for _, f := range h.From {
		_, network, err := net.ParseCIDR(f)
		if err != nil {
			return fmt.Errorf("from: %q is no network like 10.1.0.0/16", f)
		}
		if network.Contains(ip) {
			return nil
		}
	}
	return deny("asks from %s, which is in none of its networks", addr)
}

// count notes a release, unless there were too many: a host that asks again and
// again is broken, or no host. A restart of the server forgets them.
func (s *KeyServer) count(host string, perHour int) error {
	if perHour == 0 {
		perHour = defaultPerHour
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var recent []time.Time
	for _, t := range s.given[host] {
		if time.Since(t) < time.Hour {
			recent = append(recent, t)
		}
	}
	if len(recent) >= perHour {
		return &denial{http.StatusTooManyRequests, fmt.Sprintf("asked over %d times within an hour", perHour)}
	}
	if s.given == nil {
		s.given = map[string][]time.Time{}
	}
	s.given[host] = append(recent, time.Now())
	return nil
}

// seal encrypts the host's identity for the one session that asks.
func (s *KeyServer) seal(ctx context.Context, host string, to age.Recipient) (answer []byte, recipient string, err error) {
	u, err := openUnlock(s.Unlock)
	if err != nil {
		return nil, "", err
	}
	path := s.file(host, ".age")
	raw, err := readPrivate(ctx, path, 0o077)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	defer clear(raw)
	k, err := u.key(ctx, raw)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	defer k.Wipe()
	answer, err = sealFor(k.writeTo, to)
	return answer, k.Recipient(), err
}

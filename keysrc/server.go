package keysrc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/registry"
)

func init() { registry.Add(&Kinds, "server", openServer) }

// serverSettings are those of the source "server".
type serverSettings struct {
	// URL of the key server, "https://keys.example.org:8443".
	URL string `json:"url"`
	// CA is the path of the certificate (PEM) that signed the server's.
	CA string `json:"ca"`
	// Certificate and Key are the paths of this host's own (PEM); its common name
	// is the host's name on the server.
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	// HostKey is the path of the ed25519 SSH host key, which proves that it is
	// this machine that asks; empty is /etc/ssh/ssh_host_ed25519_key.
	HostKey string `json:"hostKey,omitempty"`
}

// serverTimeout bounds one question from dialling to the answer.
const serverTimeout = 30 * time.Second

type server struct {
	addr, host    string
	ca, cert, key string
	hostKey       string
}

func openServer(s serverSettings) (Source, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("url: want https://host:port, got %q", s.URL)
	}
	v := server{host: u.Hostname(), addr: net.JoinHostPort(u.Hostname(), u.Port())}
	if u.Port() == "" {
		v.addr = net.JoinHostPort(u.Hostname(), "8443")
	}
	for _, f := range []struct{ name, path string }{{"ca", s.CA}, {"certificate", s.Certificate}} {
		if f.path == "" || f.path[0] != '/' { // public, so it may be in the store
			return nil, fmt.Errorf("%s: want the absolute path of a file in PEM", f.name)
		}
	}
	v.ca, v.cert = s.CA, s.Certificate
	if v.key, err = checkPath(s.Key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if s.HostKey == "" {
		s.HostKey = defaultHostKey
	}
	if v.hostKey, err = checkPath(s.HostKey); err != nil {
		return nil, fmt.Errorf("hostKey: %w", err)
	}
	return v, nil
}

// Name is Source's.
func (s server) Name() string { return "server:" + s.addr }

// serverRequest asks for the host's identity. The signature is over serverProof.
type serverRequest struct {
	Ephemeral string `json:"ephemeral"` // age recipient that the answer is encrypted to
	Format    string `json:"format"`    // of the SSH signature
	Signature []byte `json:"signature"`
}

// serverPath and exporterLabel are the protocol's.
const (
	serverPath    = "/v1/key"
	exporterLabel = "EXPORTER-pullnode-keyserver-v1"
	answerLimit   = 2 * keyLimit
)

// serverProof is what the SSH host key signs: the TLS session's exporter
// (RFC 9266's idea) makes it worthless in any other session, so that nobody in
// between can pass it on, and no nonce is needed.
func serverProof(state tls.ConnectionState, host, ephemeral string) ([]byte, error) {
	binding, err := state.ExportKeyingMaterial(exporterLabel, nil, 32)
	if err != nil {
		return nil, err
	}
	return []byte("pullnode key server 1\x00" + host + "\x00" + ephemeral + "\x00" + string(binding)), nil
}

// Fetch is Source's.
func (s server) Fetch(ctx context.Context) (*Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	conf, name, err := s.tls(ctx)
	if err != nil {
		return nil, err
	}
	signer, err := s.signer(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.hostKey, err)
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return s.ask(ctx, conn.(*tls.Conn), name, signer)
}

func (s server) ask(ctx context.Context, conn *tls.Conn, name string, signer ssh.Signer) (*Key, error) {
	ephemeral, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	to := ephemeral.Recipient().String()
	proof, err := serverProof(conn.ConnectionState(), name, to)
	if err != nil {
		return nil, err
	}
	sig, err := signer.Sign(rand.Reader, proof)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(serverRequest{to, sig.Format, sig.Blob})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.addr+serverPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, s.explain(ctx, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, answerLimit)), req)
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, refusal(resp.StatusCode, clean(string(text)))
	}
	sealed, err := io.ReadAll(resp.Body) // conn gives no more than answerLimit
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("the server's answer is cut short or too long (%v)", err)
	}
	k, err := openSealed(bytes.NewReader(sealed), ephemeral)
	if err != nil {
		return nil, fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return k, nil
}

func refusal(status int, text string) error {
	switch status {
	case http.StatusForbidden, http.StatusTooManyRequests:
		return fmt.Errorf("%w by the key server: %s", ErrDenied, text)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: the key server answers %d: %s", ErrTemporary, status, text)
	}
	return fmt.Errorf("the key server answers %d: %s", status, text)
}

// explain tells a server that is away from one that is not ours.
func (s server) explain(ctx context.Context, err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case errors.As(err, &cert):
		return fmt.Errorf("%w: what answers at %s is not the key server: %v", ErrDenied, s.addr, cert.Err)
	case errors.As(err, &op) && op.Op == "remote error": // as crypto/tls names an alert of the other side
		return fmt.Errorf("%w: the key server refuses this host's certificate (%w)", ErrDenied, err)
	}
	return fmt.Errorf("%w: %v", ErrTemporary, err)
}

// tls gives the client's side and the host's name on the server.
func (s server) tls(ctx context.Context) (*tls.Config, string, error) {
	ca, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, "", fmt.Errorf("ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, "", fmt.Errorf("ca: %s has no certificate in PEM", s.ca)
	}
	certPEM, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, "", fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := readPrivate(ctx, s.key, 0o077)
	if errors.Is(err, ErrAbsent) {
		err = errors.New("no such file") // a server without it is not away
	}
	if err != nil {
		return nil, "", fmt.Errorf("key: %s: %w", s.key, err)
	}
	defer clear(keyPEM)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, "", fmt.Errorf("%s and %s are no pair of certificate and key", s.cert, s.key)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: s.host, Certificates: []tls.Certificate{pair}}, pair.Leaf.Subject.CommonName, nil
}

func (s server) signer(ctx context.Context) (ssh.Signer, error) {
	pem, err := readPrivate(ctx, s.hostKey, 0o077)
	if errors.Is(err, ErrAbsent) {
		return nil, errors.New("no such SSH host key")
	}
	if err != nil {
		return nil, err
	}
	defer clear(pem)
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, errors.New("is not an OpenSSH private key without passphrase")
	}
	return signer, nil
}

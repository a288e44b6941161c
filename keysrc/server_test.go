package keysrc_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pullnode/keysrc"
	"pullnode/keysrc/certs"
	"pullnode/keysrc/keysrctest"
)

// serverRig is a key server with its directory, and a host that knows it.
type serverRig struct {
	t        *testing.T
	dir      string
	host     string // directory of the host's files
	addr     string
	settings map[string]any
	rule     keysrc.HostRule
	stop     func()
	ca       certs.Pair
}

func newServerRig(t *testing.T) *serverRig {
	t.Helper()
	r := &serverRig{t: t, dir: t.TempDir(), host: t.TempDir(), addr: "127.0.0.1:0"}
	var err error
	if r.ca, err = certs.NewAuthority("keys"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(r.dir, "hosts"), 0o700); err != nil {
		t.Fatal(err)
	}
	pem, _ := sshKeygen(t, "ed25519", "")
	write(t, filepath.Join(r.host, "ssh"), pem, 0o600)
	r.rule.SSHKey = publicSSH(t, filepath.Join(r.host, "ssh"))
	r.certificate("web", r.ca)
	write(t, filepath.Join(r.host, "ca.pem"), r.ca.Certificate, 0o644)
	r.settings = map[string]any{"type": "server", "ca": filepath.Join(r.host, "ca.pem"), "certificate": filepath.Join(r.host, "web.pem"),
		"key": filepath.Join(r.host, "web.key"), "hostKey": filepath.Join(r.host, "ssh")}
	r.start()
	r.settings["url"] = "https://" + r.addr
	r.rules()
	return r
}

func publicSSH(t *testing.T, path string) string {
	t.Helper()
	return tool(t, "ssh-keygen", "-y", "-f", path)
}

func (r *serverRig) certificate(name string, ca certs.Pair) {
	r.t.Helper()
	c, err := ca.Issue(certs.Client, name)
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, filepath.Join(r.host, "web.pem"), c.Certificate, 0o644)
	write(r.t, filepath.Join(r.host, "web.key"), c.Key, 0o600)
}

func (r *serverRig) rules() {
	r.t.Helper()
	raw, err := json.Marshal(r.rule)
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, filepath.Join(r.dir, "hosts", "web.json"), raw, 0o600)
}

func (r *serverRig) identity(content []byte) {
	write(r.t, filepath.Join(r.dir, "hosts", "web.age"), content, 0o600)
}

// start runs the server as the command does.
func (r *serverRig) start() {
	r.t.Helper()
	name, _, _ := net.SplitHostPort(r.addr)
	pair, err := r.ca.Issue(certs.Server, name)
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(r.ca.Certificate)
	ks := &keysrc.KeyServer{Dir: r.dir, Audit: &keysrc.Audit{Path: filepath.Join(r.dir, "audit.jsonl")}}
	srv := ks.HTTP(cert, clients)
	srv.ErrorLog = log.New(io.Discard, "", 0)
	go srv.ServeTLS(l, "", "")
	r.stop = func() { srv.Close() }
	r.t.Cleanup(r.stop)
}

func (r *serverRig) fetch() (*keysrc.Key, error) {
	return open(r.t, r.settings).Fetch(r.t.Context())
}

func TestServer(t *testing.T) {
	id := newIdentity(t)
	content := []byte(id.String() + "\n")
	r, down := newServerRig(t), false
	r.rule.PerHour = 1000
	r.rules()
	keysrctest.Run(t, keysrctest.Case{
		Open: func(t *testing.T) keysrc.Source {
			r.identity(content)
			return open(t, r.settings)
		},
		Remove: func(*testing.T) { r.stop(); down = true },
		Put: func(_ *testing.T, content []byte) {
			if down {
				r.start()
				down = false
			}
			r.identity(content)
		},
		Content: content, Recipient: id.Recipient().String(), Secrets: []string{id.String(), id.String()[20:]},
	})
	raw, err := os.ReadFile(filepath.Join(r.dir, "audit.jsonl"))
	if err != nil || strings.Contains(string(raw), "SECRET-KEY") {
		t.Errorf("audit: %v", err)
	}
}

// Every rule, and who is not the host.
func TestServerDenies(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *serverRig)
		want   string // in the audit; empty when the session never comes about
		is     error
	}{
		"denied":       {func(r *serverRig) { r.rule.Deny = "stolen" }, "denied by rule: stolen", keysrc.ErrDenied},
		"over its day": {func(r *serverRig) { r.rule.NotAfter = time.Now().Add(-time.Hour) }, "only until", keysrc.ErrDenied},
		"from afar":    {func(r *serverRig) { r.rule.From = []string{"10.0.0.0/8", "::1/128"} }, "in none of its networks", keysrc.ErrDenied},
		"from near":    {func(r *serverRig) { r.rule.From = []string{"10.0.0.0/8", "127.0.0.0/8"} }, "", nil},
		"another SSH key": {func(r *serverRig) {
			pem, _ := sshKeygen(r.t, "ed25519", "")
			write(r.t, filepath.Join(r.host, "ssh"), pem, 0o600)
		}, "did not sign this session", keysrc.ErrDenied},
		"another host's certificate": {func(r *serverRig) { r.certificate("db", r.ca) }, "there is no such host", keysrc.ErrDenied},
		"a name that is a path":      {func(r *serverRig) { r.certificate("../web", r.ca) }, "is no host name", keysrc.ErrDenied},
		"a foreign certificate": {func(r *serverRig) {
			ca, err := certs.NewAuthority("keys")
			if err != nil {
				r.t.Fatal(err)
			}
			r.certificate("web", ca)
		}, "", keysrc.ErrDenied},
		"another server": {func(r *serverRig) {
			ca, err := certs.NewAuthority("keys")
			if err != nil {
				r.t.Fatal(err)
			}
			write(r.t, filepath.Join(r.host, "ca.pem"), ca.Certificate, 0o644)
		}, "", keysrc.ErrDenied},
		"rules that others write": {func(r *serverRig) { os.Chmod(filepath.Join(r.dir, "hosts", "web.json"), 0o666) }, "has mode 0666", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newServerRig(t)
			r.identity([]byte(newIdentity(t).String()))
			c.change(r)
			if name != "rules that others write" {
				r.rules()
			}
			_, err := r.fetch()
			if allowed := name == "from near"; allowed != (err == nil) || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, keysrc.ErrAbsent) {
				t.Errorf("error is %v", err)
			}
			raw, _ := os.ReadFile(filepath.Join(r.dir, "audit.jsonl"))
			if !strings.Contains(string(raw), c.want) {
				t.Errorf("the audit has no %q: %s", c.want, raw)
			}
			if c.want != "" && err != nil && strings.Contains(err.Error(), c.want) {
				t.Errorf("the host learns why: %v", err)
			}
		})
	}
}

func TestServerQuotaAndAudit(t *testing.T) {
	id := newIdentity(t)
	r := newServerRig(t)
	r.identity([]byte(id.String()))
	r.rule.PerHour = 2
	r.rules()
	for i := range 3 {
		if _, err := r.fetch(); (err == nil) != (i < 2) || err != nil && !errors.Is(err, keysrc.ErrDenied) {
			t.Errorf("question %d: %v", i, err)
		}
	}
	all := events(t, filepath.Join(r.dir, "audit.jsonl"))
	if len(all) != 3 || all[0].Event != "release" || all[0].Host != "web" || all[0].Recipient != id.Recipient().String() ||
		!strings.HasPrefix(all[0].From, "127.0.0.1:") || all[2].Event != "deny" {
		t.Errorf("audit %+v", all)
	}
	// Nothing is released that is not written down.
	os.Remove(filepath.Join(r.dir, "audit.jsonl"))
	if err := os.Mkdir(filepath.Join(r.dir, "audit.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.start()
	if _, err := r.fetch(); !errors.Is(err, keysrc.ErrTemporary) {
		t.Errorf("without an audit: %v", err)
	}
}

// A request that was made for one session is worth nothing in another.
func TestServerProofIsOfOneSession(t *testing.T) {
	r := newServerRig(t)
	r.identity([]byte(newIdentity(t).String()))
	var taken []byte
	spy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		taken, _ = io.ReadAll(q.Body)
		w.WriteHeader(http.StatusForbidden)
	})}
	name, port, _ := net.SplitHostPort(r.addr)
	pair, err := r.ca.Issue(certs.Server, name)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := tls.X509KeyPair(pair.Certificate, pair.Key)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	go spy.Serve(l)
	t.Cleanup(func() { spy.Close() })
	r.settings["url"] = "https://" + l.Addr().String()
	r.fetch()
	if !strings.Contains(string(taken), "age1") {
		t.Fatalf("took %q", taken)
	}
	// The same certificate, the same request, its own session.
	client, err := tls.LoadX509KeyPair(filepath.Join(r.host, "web.pem"), filepath.Join(r.host, "web.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca.Certificate)
	hc := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}}}
	resp, err := hc.Post("https://"+net.JoinHostPort(name, port)+"/v1/key", "", strings.NewReader(string(taken)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a replayed request gets %d", resp.StatusCode)
	}
}

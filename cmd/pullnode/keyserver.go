package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pullnode/internal/durable"
	"pullnode/keysrc"
	"pullnode/keysrc/certs"
)

const keyserverDir = "/var/lib/pullnode-keyserver"

// keyserverCommand runs the server in the foreground, as its unit does.
func keyserverCommand() *command {
	var dir, listen, unlock string
	return &command{short: "give hosts their keys over HTTPS, each its own", flags: func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "dir", keyserverDir, "the server's directory, made by keyserver init")
		fs.StringVar(&listen, "listen", ":8443", "address and port")
		fs.StringVar(&unlock, "unlock", "", "what the identities are sealed for, as the setting of that name")
	}, run: func(ctx context.Context, _ []string, out io.Writer) error {
		cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
		if err != nil {
			return hint(err, "pullnode keyserver init --name keys.example.org")
		}
		raw, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			return err
		}
		clients := x509.NewCertPool()
		if !clients.AppendCertsFromPEM(raw) {
			return fmt.Errorf("%s has no certificate", filepath.Join(dir, "ca.pem"))
		}
		if err := noDumps(); err != nil {
			return err
		}
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return err
		}
		s := &keysrc.KeyServer{Dir: dir, Unlock: unlock, Audit: &keysrc.Audit{Path: filepath.Join(dir, "audit.jsonl")},
			Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
		fmt.Fprintln(out, "listens on", l.Addr())
		return serveHTTPS(ctx, s.HTTP(cert, clients), l)
	}}
}

// serveHTTPS ends what is in progress when ctx is done.
func serveHTTPS(ctx context.Context, srv *http.Server, l net.Listener) error {
	defer context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		srv.Shutdown(late)
	})()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// keyserverInitCommand makes the server's directory.
func keyserverInitCommand() *command {
	var dir, name string
	return &command{args: "--name keys.example.org", short: "make a key server's directory and certificates", flags: func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "dir", keyserverDir, "the directory to make")
		fs.StringVar(&name, "name", "", "DNS name or address that hosts connect to")
	}, run: func(_ context.Context, _ []string, out io.Writer) error {
		if name == "" {
			return usageError("keyserver init: --name is missing: the DNS name or address that hosts connect to")
		}
		ca, err := certs.NewAuthority("pullnode key server " + name)
		if err != nil {
			return err
		}
		server, err := ca.Issue(certs.Server, name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, "hosts"), 0o700); err != nil {
			return err
		}
		for _, f := range []struct {
			name    string
			content []byte
		}{{"ca.key", ca.Key}, {"ca.pem", ca.Certificate}, {"server.key", server.Key}, {"server.pem", server.Certificate}} {
			if err := durable.CreateExclusive(filepath.Join(dir, f.name), f.content, 0o600); err != nil {
				return hint(err, "there is a key server already; its hosts trust only its own certificate")
			}
		}
		fmt.Fprintf(out, "%s is ready; every host needs a copy of %s\nnext     pullnode keyserver add HOST --ssh-key \"ssh-ed25519 AAAA...\" < identity\nadvice   move %s away from this machine: who has it can make certificates for hosts\n",
			dir, filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
		return nil
	}}
}

// keyserverAddCommand lets a host in. Its identity comes on standard input.
func keyserverAddCommand() *command {
	var dir, unlock, sshKey, to string
	return &command{args: "HOST --ssh-key KEY", minArg: 1, maxArg: 1, short: "let a host get the key on standard input", flags: func(fs *flag.FlagSet) {
		fs.StringVar(&dir, "dir", keyserverDir, "the server's directory")
		fs.StringVar(&unlock, "unlock", "", "seal the identity for this, as the setting of that name")
		fs.StringVar(&sshKey, "ssh-key", "", "the host's public SSH key, ssh-ed25519 AAAA...")
		fs.StringVar(&to, "to", ".", "directory for the host's certificate and its key")
	}, run: func(ctx context.Context, args []string, out io.Writer) error {
		host := args[0]
		ca, err := readPair(filepath.Join(dir, "ca"))
		if err != nil {
			return hint(err, "pullnode keyserver init --name keys.example.org")
		}
		identity, err := io.ReadAll(io.LimitReader(stdin, identityInput))
		if err != nil {
			return err
		}
		defer clear(identity)
		s := &keysrc.KeyServer{Dir: dir, Unlock: unlock}
		recipients, err := s.Add(ctx, host, keysrc.HostRule{SSHKey: sshKey}, identity)
		if err != nil {
			return err
		}
		pair, err := ca.Issue(certs.Client, host)
		if err != nil {
			return err
		}
		base := filepath.Join(to, host)
		if err := durable.CreateExclusive(base+".key", pair.Key, 0o600); err != nil {
			return err
		}
		if err := durable.CreateExclusive(base+".pem", pair.Certificate, 0o600); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s may get %s\nnext     put %s.pem, %s.key and the server's ca.pem on %s\n", host, strings.Join(recipients, " "), base, base, host)
		return nil
	}}
}

func readPair(base string) (p certs.Pair, err error) {
	if p.Certificate, err = os.ReadFile(base + ".pem"); err != nil {
		return p, err
	}
	p.Key, err = os.ReadFile(base + ".key")
	return p, err
}

package keysrc

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// HTTP gives the server for ServeTLS: TLS 1.3 with a certificate of clients'
// asked for, and limits of time and size against peers that only hold on.
func (s *KeyServer) HTTP(cert tls.Certificate, clients *x509.CertPool) *http.Server {
	return &http.Server{
		Handler:     http.MaxBytesHandler(s, 16<<10),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, NextProtos: []string{"http/1.1"}},
	}
}

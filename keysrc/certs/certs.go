// Package certs makes the certificates of a key server: an authority of its own,
// the server's certificate and one a host. It is for operators; nothing that runs
// on a host needs it.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"
)

// Pair is a certificate and its private key in PEM.
type Pair struct{ Certificate, Key []byte }

// Use says what a certificate is for.
type Use int

// The uses.
const (
	Server Use = iota // its name is what hosts connect to, a DNS name or an address
	Client            // its name is the host's on the server
)

// lifetimes: a new authority means new files on every host.
const (
	authorityYears = 20
	leafYears      = 5
)

// NewAuthority makes a certificate that signs others.
func NewAuthority(name string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	t, err := template(name, authorityYears)
	if err != nil {
		return Pair{}, err
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	return encode(t, t, key, key)
}

// Issue makes a certificate that the authority signs.
func (authority Pair) Issue(use Use, name string) (Pair, error) {
	ca, signer, err := authority.parse()
	if err != nil {
		return Pair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	t, err := template(name, leafYears)
	if err != nil {
		return Pair{}, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if use == Client {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		return encode(t, ca, key, signer)
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(name); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		t.DNSNames = []string{name}
	}
	return encode(t, ca, key, signer)
}

func (authority Pair) parse() (*x509.Certificate, crypto.Signer, error) {
	cert, _ := pem.Decode(authority.Certificate)
	key, _ := pem.Decode(authority.Key)
	if cert == nil || key == nil {
		return nil, nil, errors.New("the authority's certificate or key is no PEM")
	}
	ca, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		return nil, nil, err
	}
	signer, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		return nil, nil, errors.New("the authority's key cannot be read")
	}
	return ca, signer.(crypto.Signer), nil
}

func template(name string, years int) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		// Clocks of hosts without a battery are behind.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(years, 0, 0)}, nil
}

func encode(t, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})}, nil
}

// Package enrol is the request by which a host says for which recipient its secrets
// are to be encrypted: a short text that its SSH host key signs. Whoever knows that
// key's fingerprint from elsewhere knows that the recipient is the host's.
//
// The signature is ssh-keygen's (PROTOCOL.sshsig), so that it can be checked without
// pullnode: ssh-keygen -Y verify -n pullnode-enrol.
package enrol

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/tag"
	"golang.org/x/crypto/ssh"
)

const (
	// Namespace is what the signature is for.
	Namespace = "pullnode-enrol"
	first     = "pullnode enrolment 1"
	begin     = "-----BEGIN SSH SIGNATURE-----"
	end       = "-----END SSH SIGNATURE-----"
	magic     = "SSHSIG"
	limit     = 64 << 10
)

// Request is what a host asks for.
type Request struct {
	Host      string    `json:"host"`
	Recipient string    `json:"recipient"`
	Source    string    `json:"source"` // the name of what gives the key, "tpm:/var/lib/host.tpm"
	Made      time.Time `json:"made"`
	// Fingerprint is that of the SSH host key that signed it, as ssh-keygen -lf
	// prints it.
	Fingerprint string `json:"fingerprint"`

	key ssh.PublicKey
}

// fields are the lines of the text, in this order and no other.
var fields = []struct {
	name string
	re   *regexp.Regexp
}{
	{"host", regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)},
	{"recipient", regexp.MustCompile(`^age1[0-9a-z]{50,}$`)},
	{"source", regexp.MustCompile(`^[ -~]{1,200}$`)},
	{"made", regexp.MustCompile(`^[0-9TZ:-]{20}$`)},
}

func (r Request) body() (string, error) {
	text := first + "\n"
	for i, v := range []string{r.Host, r.Recipient, r.Source, r.Made.UTC().Format(time.RFC3339)} {
		if !fields[i].re.MatchString(v) {
			return "", fmt.Errorf("%.60q is no %s", v, fields[i].name)
		}
		text += fields[i].name + ": " + v + "\n"
	}
	return text, nil
}

// blob is the part of a signature after the magic (PROTOCOL.sshsig).
type blob struct {
	Version                   uint32
	PublicKey                 []byte
	Namespace, Reserved, Hash string
	Signature                 []byte
}

func signed(body string) []byte {
	sum := sha512.Sum512([]byte(body))
	return append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{Namespace, "", "sha512", sum[:]})...)
}

// Sign gives the text of a request. The key must be ed25519.
func Sign(r Request, key ssh.Signer) (string, error) {
	if key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return "", fmt.Errorf("the SSH host key is %s, want %s", key.PublicKey().Type(), ssh.KeyAlgoED25519)
	}
	body, err := r.body()
	if err != nil {
		return "", err
	}
	sig, err := key.Sign(rand.Reader, signed(body))
	if err != nil {
		return "", err
	}
	raw := append([]byte(magic), ssh.Marshal(blob{1, key.PublicKey().Marshal(), Namespace, "", "sha512", ssh.Marshal(sig)})...)
	text := body + begin + "\n"
	for enc := base64.StdEncoding.EncodeToString(raw); enc != ""; {
		n := min(70, len(enc))
		text, enc = text+enc[:n]+"\n", enc[n:]
	}
	return text + end + "\n", nil
}

// Parse reads a request and checks its signature. Text around it, as it comes with a
// terminal or a mail, is passed over.
func Parse(text string) (Request, error) {
	var r Request
	if len(text) > limit {
		return r, fmt.Errorf("is over %d bytes", limit)
	}
	text = "\n" + strings.ReplaceAll(text, "\r\n", "\n")
	from := strings.Index(text, "\n"+first+"\n")
	if from < 0 {
		return r, fmt.Errorf("holds no line %q", first)
	}
	body, armor, ok := strings.Cut(text[from+1:], begin+"\n")
	armor, _, ok2 := strings.Cut(armor, end)
	if !ok || !ok2 {
		return r, errors.New("holds no SSH signature")
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(lines) != len(fields)+1 {
		return r, fmt.Errorf("has %d lines, want %d", len(lines), len(fields)+1)
	}
	var values []string
	for i, f := range fields {
		v, ok := strings.CutPrefix(lines[i+1], f.name+": ")
		if !ok || !f.re.MatchString(v) {
			return r, fmt.Errorf("line %d is no %s", i+2, f.name)
		}
		values = append(values, v)
	}
	made, err := time.Parse(time.RFC3339, values[3])
	if err != nil {
		return r, errors.New("line 5 is no time")
	}
	r = Request{Host: values[0], Recipient: values[1], Source: values[2], Made: made}
	if again, err := r.body(); err != nil || again != body {
		return Request{}, errors.New("is not written as pullnode writes it")
	}
	if r.key, err = verify(body, armor); err != nil {
		return Request{}, err
	}
	r.Fingerprint = ssh.FingerprintSHA256(r.key)
	return r, r.plausible()
}

func verify(body, armor string) (ssh.PublicKey, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(armor, "\n", ""))
	rest, ok := bytes.CutPrefix(raw, []byte(magic))
	var b blob
	if err != nil || !ok || ssh.Unmarshal(rest, &b) != nil {
		return nil, errors.New("the SSH signature is damaged")
	}
	if b.Version != 1 || b.Namespace != Namespace || b.Reserved != "" || b.Hash != "sha512" {
		return nil, fmt.Errorf("the SSH signature is for %.40q, want %q", b.Namespace, Namespace)
	}
	key, err := ssh.ParsePublicKey(b.PublicKey)
	var sig ssh.Signature
	if err != nil || key.Type() != ssh.KeyAlgoED25519 || ssh.Unmarshal(b.Signature, &sig) != nil {
		return nil, errors.New("the SSH signature is not of an ed25519 key")
	}
	if err := key.Verify(signed(body), &sig); err != nil {
		return nil, errors.New("the SSH signature does not match: the request was changed")
	}
	return key, nil
}

// ParseRecipient knows the recipients of hosts: of X25519, of post-quantum keys and of
// keys in a TPM or a YubiKey (age1tag1...).
func ParseRecipient(s string) (age.Recipient, error) {
	if strings.HasPrefix(s, "age1tag1") || strings.HasPrefix(s, "age1tagpq1") {
		return tag.ParseRecipient(s)
	}
	all, err := age.ParseRecipients(strings.NewReader(s))
	if err != nil || len(all) != 1 {
		return nil, errors.New("is no recipient that age knows")
	}
	return all[0], nil
}

// plausible refuses a recipient that is said to be the SSH host key's and is not.
func (r Request) plausible() error {
	if _, err := ParseRecipient(r.Recipient); err != nil {
		return errors.New("the recipient is none that age knows")
	}
	if !strings.HasPrefix(r.Source, "ssh-host-key:") {
		return nil
	}
	pub, ok := r.key.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey)
	if !ok || !sameCurvePoint(pub, r.Recipient) {
		return errors.New("the recipient is not that of the SSH host key that signed it")
	}
	return nil
}

// sameCurvePoint says whether an X25519 recipient is the Montgomery form of an
// ed25519 key, as ssh-to-age makes it: u = (1+y)/(1-y) mod 2^255-19 (RFC 7748,
// section 4.1). Only public keys are here, so nothing has to take constant time.
func sameCurvePoint(pub ed25519.PublicKey, recipient string) bool {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	little := bytes.Clone(pub)
	little[31] &= 0x7f // the sign of x
	reverse(little)
	y, one := new(big.Int).SetBytes(little), big.NewInt(1)
	under := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), p), p)
	if under == nil {
		return false
	}
	u := new(big.Int).Mod(new(big.Int).Mul(new(big.Int).Add(one, y), under), p)
	point := u.FillBytes(make([]byte, 32))
	reverse(point)
	return bytes.Equal(point, x25519Point(recipient))
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// x25519Point decodes the point of an age recipient, whose checksum age has checked.
func x25519Point(recipient string) []byte {
	const set = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	data, ok := strings.CutPrefix(recipient, "age1")
	if !ok || len(data) != 58 {
		return nil
	}
	var out []byte
	acc, bits := uint32(0), 0
	for _, c := range data[:52] {
		acc, bits = acc<<5|uint32(max(0, strings.IndexRune(set, c))), bits+5
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
		}
	}
	return out
}

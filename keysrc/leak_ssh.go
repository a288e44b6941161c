package keysrc

import (
	"bytes"
	"encoding/base64"
	"slices"

	"golang.org/x/crypto/ssh"
)

var (
	sshMark = []byte("-----BEGIN OPENSSH PRIVATE KEY-----")
	sshBody = []byte("b3BlbnNzaC1rZXktdjE") // base64 of its magic, "openssh-key-v1"
)

// sshNeedle finds OpenSSH private keys, but for those whose fingerprints are public.
func sshNeedle(public []string) needle {
	return needle{sshMark, func(rest []byte) (Leak, bool) {
		// The lines may be indented or written as "\n" inside a string.
		rest = bytes.TrimLeft(rest[len(sshMark):], "\r\n\\n\t ")
		return Leak{}, bytes.HasPrefix(rest, sshBody) && !slices.Contains(public, sshFingerprint(rest))
	}}
}

// sshFingerprint gives the fingerprint, as of `ssh-keygen -l`, of the key that the
// base64 text of a private key begins with, or "" when it cannot be read. The public
// half is in the clear, passphrase or not: after the magic come the names of cipher
// and key derivation, its options, how many keys there are, and the first public key
// (PROTOCOL.key of OpenSSH).
func sshFingerprint(text []byte) string {
	var body []byte
	for i := 0; i < len(text) && len(body) < 1024 && text[i] != '-'; i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == 'n' || text[i+1] == 'r'):
			i++
		case c != '\n' && c != '\r' && c != '\t' && c != ' ':
			body = append(body, c)
		}
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, _ := base64.StdEncoding.Decode(raw, body[:len(body)/4*4])
	raw, ok := bytes.CutPrefix(raw[:n], []byte("openssh-key-v1\x00"))
	var head struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public               []byte
		Rest                 []byte `ssh:"rest"`
	}
	if !ok || ssh.Unmarshal(raw, &head) != nil {
		return ""
	}
	key, err := ssh.ParsePublicKey(head.Public)
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

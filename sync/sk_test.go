package sync

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A33: a security key that signed without anybody touching it counts for nothing,
// and a touch cannot be written into the signature afterwards.
func TestSecurityKeyNeedsATouch(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const app, payload = "ssh:", "tree and all\n"
	key := ssh.Marshal(struct {
		Type string
		Key  []byte
		App  string
	}{ssh.KeyAlgoSKED25519, pub, app})
	digest := sha512.Sum512([]byte(payload))
	signed := append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{sshNS, "", "sha512", digest[:]})...)
	// FIDO signs the application, the flags, a counter and the message, hashed.
	// Source: OpenSSH PROTOCOL.u2f.
	armored := func(says, writes byte) string {
		a, m := sha256.Sum256([]byte(app)), sha256.Sum256(signed)
		sig := ed25519.Sign(priv, append(append(a[:], says, 0, 0, 0, 9), m[:]...))
		inner := append(ssh.Marshal(struct {
			Format string
			Blob   []byte
		}{ssh.KeyAlgoSKED25519, sig}), writes, 0, 0, 0, 9)
		raw := append([]byte(sshMagic), ssh.Marshal(sshBlob{1, key, sshNS, "", "sha512", inner})...)
		enc := base64.StdEncoding.EncodeToString(raw)
		var b strings.Builder
		for ; len(enc) > 70; enc = enc[70:] {
			b.WriteString(enc[:70] + "\n")
		}
		return sshBegin + b.String() + enc + "\n" + sshEnd
	}
	const up, verified = 1, 4
	for _, c := range []struct {
		says, writes byte
		want         string
	}{
		{up, up, ""}, {up | verified, up | verified, ""},
		{0, 0, "without a touch"}, {verified, verified, "without a touch"},
		{0, up, "does not match"}, {verified, up | verified, "does not match"},
	} {
		sig, err := sshFormat{}.Verify([]byte(payload), armored(c.says, c.writes), nil)
		switch {
		case c.want == "" && (err != nil || sig.KeyType != ssh.KeyAlgoSKED25519):
			t.Errorf("flags %d: %+v, %v", c.writes, sig, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("signed with flags %d, written as %d: %v, want %q", c.says, c.writes, err, c.want)
		}
	}
	if _, err := ParseSigners([]byte("alice " + ssh.KeyAlgoSKED25519 + " " + base64.StdEncoding.EncodeToString(key) + "\n")); err != nil {
		t.Error(err)
	}
	if _, err := ParseSigners([]byte("alice no-touch-required " + ssh.KeyAlgoSKED25519 + " " + base64.StdEncoding.EncodeToString(key) + "\n")); err == nil {
		t.Error("no-touch-required is accepted")
	}
}

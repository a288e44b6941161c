package keysrc_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/keysrc"
)

// montgomery gives the age recipient of an ed25519 public key by RFC 7748
// section 4.1, u = (1+y)/(1-y) mod 2^255-19: the way that ssh-to-age takes from
// the public key alone, which shares no step with the derivation from the seed.
func montgomery(t *testing.T, pub ed25519.PublicKey) string {
	t.Helper()
	le := slices.Clone([]byte(pub))
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	one := big.NewInt(1)
	u := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), p), p)
	u.Mul(u, new(big.Int).Add(one, y)).Mod(u, p)
	out := u.FillBytes(make([]byte, 32))
	slices.Reverse(out)
	return string(keysrc.Bech32("age", out))
}

// sshKeygen gives a new private key and, for ed25519, the age recipient of its
// public half.
func sshKeygen(t *testing.T, kind, pass string) (private []byte, recipient string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "k")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", pass, "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen (apt-get install openssh-client): %v\n%s", err, out)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if kind != "ed25519" {
		return private, ""
	}
	line, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	return private, montgomery(t, pub.(ssh.CryptoPublicKey).CryptoPublicKey().(ed25519.PublicKey))
}

// The seeds are those of RFC 8032 section 7.1, tests 1 and 2; the recipients
// were computed from the RFC's public keys, not from the seeds, with another
// program (Python's integers and its own Bech32).
func TestSSHHostKeyKnownAnswers(t *testing.T) {
	for _, v := range []struct{ seed, recipient string }{
		{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "age1mp0q0mpzkzkcs9fhct6y6e3drg2re7psc4av5sc9mpw84y8kkchq6r9kjp"},
		{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "age1yhrsf3v5hz90cq98dd5armftnpxhugj4puldpqpdqnau6p7n34rsmhsj4t"},
	} {
		seed, err := hex.DecodeString(v.seed)
		if err != nil {
			t.Fatal(err)
		}
		private := ed25519.NewKeyFromSeed(seed)
		if got := montgomery(t, private.Public().(ed25519.PublicKey)); got != v.recipient {
			t.Errorf("the test's own conversion gives %s, want %s", got, v.recipient)
		}
		block, err := ssh.MarshalPrivateKey(private, "host")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "k")
		write(t, path, pem.EncodeToMemory(block), 0o600)
		key, err := open(t, map[string]any{"type": "ssh-host-key", "path": path}).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if key.Recipient() != v.recipient {
			t.Errorf("recipient is %s, want %s", key.Recipient(), v.recipient)
		}
		// The age CLI encrypts, knowing only the recipient.
		sealed := ageCLI(t, "a secret", v.recipient)
		r, err := age.Decrypt(bytes.NewReader(sealed), key.Identities()...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != "a secret" {
			t.Errorf("decrypted %q, %v", got, err)
		}
	}
}

// ageCLI encrypts with Debian's age.
func ageCLI(t *testing.T, text string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("age"); err != nil {
		t.Fatal("this test needs age: apt-get install age")
	}
	var cl []string
	for _, a := range args {
		if strings.HasPrefix(a, "age1") {
			cl = append(cl, "-r")
		}
		cl = append(cl, a)
	}
	cmd := exec.Command("age", cl...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	return out
}

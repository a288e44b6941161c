package enrol_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/enrol"
	"pullnode/keysrc"
)

func hostKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "host")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func request(t *testing.T) enrol.Request {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return enrol.Request{Host: "web01", Recipient: id.Recipient().String(), Source: "tpm:/var/lib/host.tpm", Made: time.Now()}
}

// The host that asks for another's secrets must have that other's SSH key.
func TestRequest(t *testing.T) {
	key, _ := hostKey(t)
	want := request(t)
	text, err := enrol.Sign(want, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, around := range []string{text, "root@web01:~# pullnode key enroll\n" + text + "\nnext ...\n", strings.ReplaceAll(text, "\n", "\r\n")} {
		r, err := enrol.Parse(around)
		if err != nil {
			t.Fatal(err)
		}
		if r.Host != want.Host || r.Recipient != want.Recipient || r.Source != want.Source || r.Fingerprint != ssh.FingerprintSHA256(key.PublicKey()) {
			t.Errorf("%+v", r)
		}
	}
	other := request(t)
	for name, changed := range map[string]string{
		"host":      strings.Replace(text, "web01", "web02", 1),
		"recipient": strings.Replace(text, want.Recipient, other.Recipient, 1),
		"source":    strings.Replace(text, "tpm:", "usb:", 1),
		"made":      strings.Replace(text, "made: 2", "made: 3", 1),
		"a line":    strings.Replace(text, "source:", "note: x\nsource:", 1),
		"no end":    strings.Replace(text, "-----END", "-----ENDE", 1),
		"namespace": strings.Replace(text, text[strings.Index(text, "U1NIU0lH"):][:60], text[strings.Index(text, "U1NIU0lH"):][:58]+"AA", 1),
		"empty":     "",
		"escape":    strings.Replace(text, "tpm:", "tpm:\x1b[2J", 1),
		"long":      text + strings.Repeat("x", 100<<10),
	} {
		if r, err := enrol.Parse(changed); err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// What is signed is what ssh-keygen verifies.
func TestSignatureForSSHKeygen(t *testing.T) {
	key, _ := hostKey(t)
	text, err := enrol.Sign(request(t), key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	i := strings.Index(text, "-----BEGIN")
	for name, content := range map[string]string{"sig": text[i:], "allowed": "web01 " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(body string) ([]byte, error) {
		cmd := exec.Command("ssh-keygen", "-Y", "verify", "-n", enrol.Namespace, "-I", "web01", "-f", filepath.Join(dir, "allowed"), "-s", filepath.Join(dir, "sig"))
		cmd.Stdin = strings.NewReader(body)
		return cmd.CombinedOutput()
	}
	if out, err := verify(text[:i]); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := verify(text[:i] + "x"); err == nil {
		t.Errorf("another text is verified: %s", out)
	}
}

// A recipient that is said to come from the SSH host key is compared with it.
func TestRecipientOfTheHostKey(t *testing.T) {
	for range 8 {
		key, path := hostKey(t)
		source, err := json.Marshal(map[string]string{"type": "ssh-host-key", "path": path})
		if err != nil {
			t.Fatal(err)
		}
		ch, err := keysrc.OpenAll([]json.RawMessage{source})
		if err != nil {
			t.Fatal(err)
		}
		k, err := ch.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := request(t)
		r.Recipient, r.Source = k.Recipient(), k.From()
		k.Wipe()
		text, err := enrol.Sign(r, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := enrol.Parse(text); err != nil {
			t.Error(err)
		}
		r.Recipient = request(t).Recipient
		if text, err = enrol.Sign(r, key); err != nil {
			t.Fatal(err)
		}
		if _, err := enrol.Parse(text); err == nil || !strings.Contains(err.Error(), "is not that of the SSH host key") {
			t.Error(err)
		}
	}
}

package keysrc_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age/tag"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// A file that is wrapped to the TPM opens on this machine and nowhere else.
func TestUnlockWithTPM(t *testing.T) {
	s := keysrctest.StartTPM(t)
	t.Cleanup(keysrc.SetDefaultTPM(s.Socket))
	// Bound to another PCR than the default: the blob says which.
	blob, recipient := tagKey(t, s, []int{0})
	to, err := tag.ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	wrap, path := filepath.Join(dir, "wrap.tpm"), filepath.Join(dir, "host.age.age")
	write(t, wrap, blob, 0o600)
	id := newIdentity(t)
	write(t, path, encryptText(t, id.String()+"\n", to), 0o600)
	fetch := func() (*keysrc.Key, error) {
		return open(t, map[string]any{"type": "file", "path": path, "unlock": "tpm:" + wrap}).Fetch(t.Context())
	}
	k, err := fetch()
	if err != nil {
		t.Fatal(err)
	}
	if k.Recipient() != id.Recipient().String() {
		t.Errorf("recipient is %s", k.Recipient())
	}
	k.Wipe()

	s.Extend(t, 0)
	if _, err := fetch(); !errors.Is(err, keysrc.ErrDenied) {
		t.Errorf("on a machine that booted otherwise: %v", err)
	}
	// The medium is there: it must not be passed over.
	for what, remove := range map[string]func(){"no TPM": s.Stop, "no blob": func() { os.Remove(wrap) }} {
		remove()
		if _, err := fetch(); err == nil || errors.Is(err, keysrc.ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

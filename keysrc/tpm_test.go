package keysrc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/tag"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// tpmSource gives the settings of a source whose blob is at path.
func tpmSource(s *keysrctest.SoftTPM, path string) map[string]any {
	return map[string]any{"type": "tpm", "path": path, "device": s.Socket}
}

func sealed(t *testing.T, s *keysrctest.SoftTPM, pcrs []int, identity string) []byte {
	t.Helper()
	blob, err := keysrc.TPM{Device: s.Socket, PCRs: pcrs}.Seal(t.Context(), []byte(identity))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func tagKey(t *testing.T, s *keysrctest.SoftTPM, pcrs []int) (blob []byte, recipient string) {
	t.Helper()
	blob, recipient, err := keysrc.TPM{Device: s.Socket, PCRs: pcrs}.NewKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return blob, recipient
}

func TestTPM(t *testing.T) {
	s := keysrctest.StartTPM(t)
	source := func(path string) map[string]any { return tpmSource(s, path) }
	x := newIdentity(t)
	t.Run("x25519", func(t *testing.T) {
		keysrctest.Run(t, fileCase(source, sealed(t, s, nil, "# host\n"+x.String()+"\n"), x.Recipient().String(), x.String(), x.String()[20:]))
	})
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("post-quantum", func(t *testing.T) {
		keysrctest.Run(t, fileCase(source, sealed(t, s, nil, pq.String()+"\n"), pq.Recipient().String(), pq.String()))
	})
	t.Run("of the TPM itself", func(t *testing.T) {
		blob, recipient := tagKey(t, s, nil)
		var in struct{ Private []byte }
		if err := json.Unmarshal(blob, &in); err != nil {
			t.Fatal(err)
		}
		keysrctest.Run(t, fileCase(source, blob, recipient, string(in.Private)))
	})
	if n := s.Loaded(t); n != 0 {
		t.Errorf("%d objects and sessions were left in the TPM", n)
	}
}

// A rotation's file has two identities, more than a TPM seals by itself.
func TestTPMTwoIdentities(t *testing.T) {
	s := keysrctest.StartTPM(t)
	a, b := newIdentity(t), newIdentity(t)
	path := filepath.Join(t.TempDir(), "blob")
	write(t, path, sealed(t, s, nil, a.String()+"\n"+b.String()+"\n"), 0o600)
	k, err := open(t, tpmSource(s, path)).Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	if got := k.Recipients(); len(got) != 2 || got[0] != a.Recipient().String() || got[1] != b.Recipient().String() {
		t.Errorf("recipients are %v", got)
	}
}

func TestTPMNoSecretOnDisk(t *testing.T) {
	s := keysrctest.StartTPM(t)
	id := newIdentity(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "blob")
	write(t, path, sealed(t, s, nil, id.String()+"\n"), 0o600)
	k, err := open(t, tpmSource(s, path)).Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Wipe()
	secret := id.String()[len("AGE-SECRET-KEY-1"):]
	find := func() (found []string) {
		for _, root := range []string{dir, s.State} {
			fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					if raw, err := os.ReadFile(filepath.Join(root, name)); err == nil && strings.Contains(string(raw), secret) {
						found = append(found, name)
					}
				}
				return nil
			})
		}
		return found
	}
	if got := find(); got != nil {
		t.Errorf("the identity is in %v", got)
	}
	write(t, filepath.Join(dir, "planted"), []byte(id.String()), 0o600)
	if got := find(); len(got) != 1 {
		t.Errorf("the search finds %v, want the planted file", got)
	}
}

func TestTPMSettings(t *testing.T) {
	s := keysrctest.StartTPM(t)
	blob := sealed(t, s, []int{11, 7, 0}, newIdentity(t).String())
	path := filepath.Join(t.TempDir(), "blob")
	write(t, path, blob, 0o600)
	fetch := func(pcrs any) error {
		settings := tpmSource(s, path)
		if pcrs != nil {
			settings["pcrs"] = pcrs
		}
		k, err := open(t, settings).Fetch(t.Context())
		k.Wipe()
		return err
	}
	if err := fetch([]int{0, 11, 7}); err != nil {
		t.Error(err)
	}
	wantErr(t, fetch(nil), "is bound to PCRs [0 7 11], the settings say [7]")
	write(t, path, sealed(t, s, []int{}, newIdentity(t).String()), 0o600)
	s.Extend(t, 7)
	if err := fetch([]int{}); err != nil {
		t.Errorf("bound to the chip alone: %v", err)
	}
	write(t, path, blob, 0o666)
	wantErr(t, fetch([]int{0, 7, 11}), "has mode 0666")

	for raw, want := range map[string]string{
		`{"type":"tpm"}`:                                         "path: is missing",
		`{"type":"tpm","path":"x"}`:                              "is not absolute",
		`{"type":"tpm","path":"/x","device":"tpm0"}`:             "device: \"tpm0\" is not absolute",
		`{"type":"tpm","path":"/x","pcrs":[24]}`:                 "there is no PCR 24",
		`{"type":"tpm","path":"/x","pcrs":[-1]}`:                 "there is no PCR -1",
		`{"type":"tpm","path":"/x","pcrs":[7,1,7]}`:              "PCR 7 is there twice",
		`{"type":"tpm","path":"/x","pcr":[7]}`:                   `did you mean "pcrs"`,
		`{"type":"tpm","path":"/x","pcrs":[7],"unsupported":{}}`: "unknown setting",
		`{"type":"tpn","path":"/x"}`:                             `did you mean "tpm"`,
	} {
		_, err := keysrc.OpenAll([]json.RawMessage{json.RawMessage(raw)})
		wantErr(t, err, want)
	}
	dev := tpmSource(s, path)
	dev["device"] = path
	dev["pcrs"] = []int{0, 7, 11}
	write(t, path, blob, 0o600)
	_, err := open(t, dev).Fetch(t.Context())
	wantErr(t, err, "is not a device")
}

// The public half of a TPM's key can be pinned, and its key is no file.
func TestTPMInChain(t *testing.T) {
	s := keysrctest.StartTPM(t)
	blob, recipient := tagKey(t, s, nil)
	path := filepath.Join(t.TempDir(), "blob")
	write(t, path, blob, 0o600)
	raw, _ := json.Marshal(tpmSource(s, path))
	chain, err := keysrc.Settings{Recipient: recipient, Sources: []json.RawMessage{raw}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	k, err := chain.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if k.Memory() != "" || k.Recipient() != recipient {
		t.Errorf("memory %q, recipient %q", k.Memory(), k.Recipient())
	}
	_, other := tagKey(t, s, nil)
	chain, err = keysrc.Settings{Recipient: other, Sources: []json.RawMessage{raw}}.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.Fetch(context.Background()); !errors.Is(err, keysrc.ErrWrongKey) {
		t.Errorf("another key was pinned: %v", err)
	}
	wantErr(t, newHandoff(t).Start(k), "cannot leave its device")
}

func encryptTag(t *testing.T, recipient string) []byte {
	t.Helper()
	r, err := tag.ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "for this host")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

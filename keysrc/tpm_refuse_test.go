package keysrc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// What a TPM refuses, and which class of error says so.
func TestTPMRefuses(t *testing.T) {
	id := newIdentity(t)
	for name, c := range map[string]struct {
		breaks func(t *testing.T, s *keysrctest.SoftTPM)
		is     error
		want   string
	}{
		"nothing":          {func(*testing.T, *keysrctest.SoftTPM) {}, nil, ""},
		"reboot":           {func(t *testing.T, s *keysrctest.SoftTPM) { s.Stop(); s.Start(t) }, nil, ""},
		"other PCR":        {func(t *testing.T, s *keysrctest.SoftTPM) { s.Extend(t, 8) }, nil, ""},
		"PCR extended":     {func(t *testing.T, s *keysrctest.SoftTPM) { s.Extend(t, 7) }, keysrc.ErrDenied, "booted with other firmware"},
		"TPM cleared":      {func(t *testing.T, s *keysrctest.SoftTPM) { s.Clear(t) }, keysrc.ErrDenied, "another TPM, or this one was cleared"},
		"another TPM":      {func(t *testing.T, s *keysrctest.SoftTPM) { s.Stop(); s.State = t.TempDir(); s.Start(t) }, keysrc.ErrDenied, "another TPM"},
		"no TPM":           {func(t *testing.T, s *keysrctest.SoftTPM) { s.Stop() }, keysrc.ErrAbsent, "there is no TPM at"},
		"nobody at socket": {func(t *testing.T, s *keysrctest.SoftTPM) { s.Stop(); deadSocket(t, s.Socket) }, keysrc.ErrAbsent, "there is no TPM at"},
	} {
		t.Run(name, func(t *testing.T) {
			s := keysrctest.StartTPM(t)
			dir := t.TempDir()
			blobs := map[string][]byte{"sealed": sealed(t, s, nil, id.String())}
			blobs["p256"], _ = tagKey(t, s, nil)
			for kind, blob := range blobs {
				write(t, filepath.Join(dir, kind), blob, 0o600)
			}
			held, err := open(t, tpmSource(s, filepath.Join(dir, "p256"))).Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			file := encryptTag(t, held.Recipient())
			c.breaks(t, s)
			_, use := age.Decrypt(bytes.NewReader(file), held.Identities()...)
			errs := map[string]error{"use of a held key": use}
			for kind := range blobs {
				_, errs[kind] = open(t, tpmSource(s, filepath.Join(dir, kind))).Fetch(t.Context())
			}
			for what, err := range errs {
				if c.is == nil {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					continue
				}
				wantErr(t, err, c.want)
				if !errors.Is(err, c.is) {
					t.Errorf("%s: %v does not wrap %q", what, err, c.is)
				}
				for _, other := range []error{keysrc.ErrAbsent, keysrc.ErrDenied, keysrc.ErrCorrupt} {
					if other != c.is && errors.Is(err, other) {
						t.Errorf("%s: %v also wraps %q", what, err, other)
					}
				}
			}
			if s.Running() && s.Loaded(t) != 0 {
				t.Error("objects or sessions were left in the TPM")
			}
		})
	}
}

// Every byte that is changed is noticed, and none makes a panic.
func TestTPMDamagedBlob(t *testing.T) {
	s := keysrctest.StartTPM(t)
	path := filepath.Join(t.TempDir(), "blob")
	id := newIdentity(t)
	p256, _ := tagKey(t, s, nil)
	for kind, good := range map[string][]byte{"sealed": sealed(t, s, nil, id.String()), "p256": p256} {
		for _, field := range []string{"public", "private", "data", "kind", "recipients"} {
			var b map[string]json.RawMessage
			if err := json.Unmarshal(good, &b); err != nil {
				t.Fatal(err)
			}
			if b[field] == nil {
				continue
			}
			other := map[string]string{"kind": `"p256"`, "recipients": `["age1other"]`}
			if kind == "p256" {
				other["kind"] = `"sealed"`
			}
			changes := []string{`""`}
			if text, ok := other[field]; ok {
				changes = []string{text}
			} else {
				var raw []byte
				if err := json.Unmarshal(b[field], &raw); err != nil {
					t.Fatal(err)
				}
				for _, at := range []int{0, 1, 2, len(raw) / 3, len(raw) / 2, len(raw) - 1} {
					bad := bytes.Clone(raw)
					bad[at] ^= 0x10
					changed, _ := json.Marshal(bad)
					cut, _ := json.Marshal(raw[:at])
					changes = append(changes, string(changed), string(cut))
				}
			}
			for _, change := range changes {
				b[field] = json.RawMessage(change)
				bad, _ := json.Marshal(b)
				write(t, path, bad, 0o600)
				k, err := open(t, tpmSource(s, path)).Fetch(t.Context())
				if k != nil || !errors.Is(err, keysrc.ErrCorrupt) {
					t.Errorf("%s with %s %.40s: key %v, error %v", kind, field, change, k, err)
				}
			}
		}
	}
	if n := s.Loaded(t); n != 0 {
		t.Errorf("%d objects and sessions were left in the TPM", n)
	}
}

// deadSocket leaves a socket at path that nobody listens on.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// A TPM that does not answer is given up, and is not taken for one that is away.
func TestTPMHangs(t *testing.T) {
	s := keysrctest.StartTPM(t)
	path := filepath.Join(t.TempDir(), "blob")
	write(t, path, sealed(t, s, nil, newIdentity(t).String()), 0o600)
	s.Stop()
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := open(t, tpmSource(s, path)).Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("error is %v", err)
	}
}

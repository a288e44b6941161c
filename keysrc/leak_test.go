package keysrc_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	gossh "golang.org/x/crypto/ssh"

	"pullnode/keysrc"
)

func TestScanner(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ssh, _ := sshKeygen(t, "ed25519", "")
	parsed, err := gossh.ParsePrivateKey(ssh)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{
		"plain":            []byte("key = \"" + id.String() + "\";\n"),
		"deep/in/binary":   append(append(bytes.Repeat([]byte{0, 1, 2}, 1<<19), id.String()...), 0xff),
		"over the border":  append(bytes.Repeat([]byte("x"), 1<<20+4096-20), id.String()...),
		"post-quantum":     []byte(pq.String()),
		"ssh":              ssh,
		"ssh in a string":  []byte(`"` + strings.ReplaceAll(string(ssh), "\n", `\n`) + `"`),
		"somebody's":       []byte(other.String()),
		"a mark alone":     []byte("grep AGE-SECRET-KEY-1 and -----BEGIN OPENSSH PRIVATE KEY----- in files"),
		"a wrong checksum": []byte(id.String()[:70] + "QQQQ"),
		"lower case":       []byte(strings.ToLower(id.String())),
		"public":           []byte(id.Recipient().String()),
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, content, 0o444)
	}
	if err := os.Symlink("/etc/shadow", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	found := func(look keysrc.Look) map[string]bool {
		leaks, err := keysrc.NewScanner(look).Trees(t.Context(), []string{dir})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]bool{}
		for _, l := range leaks {
			name, _ := filepath.Rel(dir, l.Path)
			if m[name] {
				t.Errorf("%s is told twice", name)
			}
			m[name] = true
		}
		return m
	}
	check := func(what string, got map[string]bool, want ...string) {
		t.Helper()
		for _, w := range want {
			if !got[w] {
				t.Errorf("%s: missed %q", what, w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: found %v", what, got)
		}
	}
	ours := []string{"plain", "deep/in/binary", "over the border"}
	check("all", found(keysrc.Look{SSH: true}), append(ours, "post-quantum", "ssh", "ssh in a string", "somebody's")...)
	check("all but a public one", found(keysrc.Look{SSH: true, Public: []string{gossh.FingerprintSHA256(parsed.PublicKey())}}), append(ours, "post-quantum", "somebody's")...)
	check("ours", found(keysrc.Look{Only: []string{id.Recipient().String()}}), ours...)

	err = &keysrc.LeakError{Leaks: []keysrc.Leak{{Path: "/nix/store/x/plain", Recipient: id.Recipient().String()}}}
	if text := err.Error(); !strings.Contains(text, "/nix/store/x/plain: the age identity of "+id.Recipient().String()) || strings.Contains(text, "SECRET-KEY") {
		t.Errorf("says %q", text)
	}
	var leak *keysrc.LeakError
	if !errors.As(err, &leak) {
		t.Error("no *LeakError")
	}
}

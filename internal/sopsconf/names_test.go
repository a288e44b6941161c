package sopsconf_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"

	"pullnode/internal/sopsconf"
	"pullnode/keysrc/keysrctest"
)

// The names are those of the files that sops makes, in each of its formats.
func TestSecretNames(t *testing.T) {
	sops := keysrctest.SopsCLI(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a.yaml": {"# note\ntoken: hunter2\ndb:\n  password: geheim\n  ports: [1, 2]\nplain_unencrypted: x\n", []string{"token", "db.password", "db.ports"}},
		"a.json": {`{"token": "hunter2", "db": {"password": "geheim"}}`, []string{"token", "db.password"}},
		"a.env":  {"# note\nTOKEN=hunter2\nDB_PASSWORD=a=b\n", []string{"TOKEN", "DB_PASSWORD"}},
		"a.ini":  {"[db]\npassword = geheim\n", []string{"db.password"}},
		"a.bin":  {"\x00\x01binary", []string{sopsconf.Whole}},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(sops, "encrypt", "-i", "--age", id.Recipient().String(), path)
		cmd.Dir = dir // away from the .sops.yaml of this repository
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := sopsconf.SecretNames(raw); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q\n%s", name, got, c.want, raw)
		}
	}
}

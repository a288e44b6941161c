package keysrc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

func TestManifestFiles(t *testing.T) {
	me := newIdentity(t).Recipient().String()
	store := t.TempDir()
	put := func(name, content string) string {
		path := filepath.Join(store, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte(content), 0o444)
		return path
	}
	manifest := func(name string, files ...string) string {
		var secrets []any
		for _, f := range files {
			secrets = append(secrets, map[string]any{"name": "x", "sopsFile": f, "format": "yaml"})
		}
		raw, err := json.Marshal(map[string]any{"secrets": secrets, "secretsMountPoint": "/run/secrets.d", "placeholderBySecretName": map[string]any{}})
		if err != nil {
			t.Fatal(err)
		}
		return put(name, string(raw))
	}
	of := keysrctest.SOPS(t, me)
	copied := put("1-source/hosts/web/secrets.json", of)
	shared, users := put("2-shared.json", keysrctest.SOPS(t, me)), put("3-source/users.json", keysrctest.SOPS(t, me))
	plain, torn := put("4-plain.json", "{}"), put("5-torn.json", strings.Replace(of, `"mac"`, `"cam"`, 1))
	paths := []string{
		filepath.Join(store, "1-source"), shared, filepath.Join(store, "3-source"), plain, torn,
		manifest("6-manifest.json", copied, shared, shared, plain, torn, "/etc/not-in-the-store.yaml", store+"/1-source/../../../etc/passwd"),
		manifest("7-manifest-for-users.json", users),
		put("8-manifest.json", `{"name": "an app", "secrets": 1}`), put("9-manifest.json", "no JSON"),
		manifest("a-other.json", "/nowhere"),
	}
	known, err := keysrc.ReadMeta("hosts/web/secrets.json", []byte(of))
	if err != nil {
		t.Fatal(err)
	}
	metas, bad, err := keysrc.ManifestFiles(paths, []keysrc.Meta{known})
	if err != nil {
		t.Fatal(err)
	}
	if len(metas) != 2 || metas[0].Name != shared || metas[1].Name != users {
		t.Errorf("found %v", metas)
	}
	if len(bad) != 2 || bad[0].Name != plain || bad[0].State != keysrc.NotSOPS || bad[1].Name != torn || bad[1].State != keysrc.Malformed {
		t.Errorf("bad are %v", bad)
	}
	// A file that the store has lost is nobody's fault but no answer either.
	os.Remove(shared)
	if _, _, err := keysrc.ManifestFiles(paths, nil); err == nil || !strings.Contains(err.Error(), shared) {
		t.Errorf("a lost file: %v", err)
	}
}

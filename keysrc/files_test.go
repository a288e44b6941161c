package keysrc_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pullnode/keysrc"
)

func TestFiles(t *testing.T) {
	me := newIdentity(t).Recipient().String()
	tree := sopsFile{groups: [][]string{{me}}}.tree(t)
	secret := string(toYAML(tree, 4, 4))
	cut := secret[:strings.Index(secret, "    mac:")]
	dir := t.TempDir()
	for name, content := range map[string]string{
		"hosts/web/default.nix":     "{ }",
		"hosts/web/secrets.yaml":    secret,
		"hosts/web/deep/er/app.env": string(toDotenv(tree)),
		"hosts/web/README.md":       secret,
		"hosts/web/plain.yaml":      "a: 1\n",
		"hosts/web/broken.yaml":     cut,
		"hosts/web-db/secrets.yaml": secret,
		"hosts/web-db/x.yaml":       secret,
		"secrets/web.yaml":          secret,
		"secrets/web_tls.json":      string(toJSON(t, tree)),
		"secrets/web-db.yaml":       secret,
		"secrets/web10.yaml":        secret,
		"secrets/web@home/a.ini":    string(toINI(tree)),
		"secrets/all.yaml":          secret,
		"secrets/other.yaml":        secret,
		"secrets/web.notes":         "no metadata",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, []byte(content), 0o644)
	}
	if err := os.Symlink("../other.yaml", filepath.Join(dir, "secrets/web.link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "secrets/escape.yaml")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()

	metas, bad, err := keysrc.Files(root.FS(), "web", []string{"secrets/all.yaml", "./secrets/web.yaml", "secrets/gone.yaml", "secrets/web.notes"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range metas {
		got = append(got, m.Name)
	}
	want := []string{"hosts/web/deep/er/app.env", "hosts/web/secrets.yaml", "secrets/all.yaml", "secrets/web.yaml", "secrets/web@home/a.ini", "secrets/web_tls.json"}
	if !slices.Equal(got, want) {
		t.Errorf("files\n%v, want\n%v", got, want)
	}
	var texts []string
	for _, r := range bad {
		texts = append(texts, string(r.State)+" "+r.Name)
	}
	if want := []string{"malformed hosts/web/broken.yaml", "not-sops secrets/gone.yaml", "not-sops secrets/web.notes"}; !slices.Equal(texts, want) {
		t.Errorf("bad files %v, want %v", texts, want)
	}

	for host, n := range map[string]int{"web-db": 3, "web10": 1, "none": 0} {
		if metas, _, err := keysrc.Files(root.FS(), host, nil); err != nil || len(metas) != n {
			t.Errorf("host %s has %d files, %v, want %d", host, len(metas), err, n)
		}
	}
	for _, also := range []string{"../x", "/etc/passwd", "secrets/escape.yaml"} {
		if _, _, err := keysrc.Files(root.FS(), "web", []string{also}); err == nil {
			t.Errorf("read %q", also)
		}
	}
	for _, host := range []string{"", "..", "a/b"} {
		if _, _, err := keysrc.Files(root.FS(), host, nil); err == nil {
			t.Errorf("took host %q", host)
		}
	}
	if metas, bad, err := keysrc.Files(os.DirFS(t.TempDir()), "web", nil); err != nil || len(metas)+len(bad) != 0 {
		t.Errorf("an empty tree: %v %v %v", metas, bad, err)
	}
}

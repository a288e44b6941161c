package keysrc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// opener is a Chain with one key.
func opener(t testing.TB, id *age.X25519Identity) keysrc.Chain {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	write(t, path, []byte(id.String()+"\n"), 0o600)
	return keysrc.Chain{Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
}

// readValues decrypts the secrets of the host web.
func readValues(t testing.TB, id *age.X25519Identity, tree string) (keysrc.Values, error) {
	t.Helper()
	files, bad, err := keysrc.Files(os.DirFS(tree), "web", nil)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	return keysrc.ReadValues(t.Context(), opener(t, id), os.DirFS(tree), files)
}

// named gives what a scan of dir finds, as "file: value".
func named(t *testing.T, values keysrc.Values, dir string) []string {
	t.Helper()
	leaks, err := keysrc.NewScanner(keysrc.Look{Values: values}).Trees(t.Context(), []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range leaks {
		out = append(out, strings.TrimPrefix(l.String(), dir+"/"))
	}
	return out
}

func TestValuesAreFound(t *testing.T) {
	id := newIdentity(t)
	secrets := map[string]string{
		"password": "correct horse battery",
		"cert":     "-----BEGIN X-----\n\"a\\b\"\nMIIB\n",
		"pin":      "1234",
		"long":     strings.Repeat("a long value ", 3000),
	}
	tree := t.TempDir()
	os.Mkdir(filepath.Join(tree, "secrets"), 0o755)
	write(t, filepath.Join(tree, "secrets", "web.json"), []byte(keysrctest.SOPSWith(t, secrets, id.Recipient().String())), 0o644)
	values, err := readValues(t, id, tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(values) != len(secrets) {
		t.Fatalf("%d values: %v", len(values), values)
	}
	for _, v := range values {
		if text := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v); strings.Contains(text, "horse") || strings.Contains(text, "686f727365") {
			t.Errorf("a value shows itself: %s", text)
		}
		if v.Short() != (v.Name == "pin") {
			t.Errorf("%v: short is %t", v, v.Short())
		}
	}

	store := t.TempDir()
	quoted, _ := json.Marshal(map[string]string{"c": strings.TrimSpace(secrets["cert"])})
	pad := bytes.Repeat([]byte("corect horse battery "), 20_000)
	for at, name := range []string{"start", "one off", "two off", "three off", "four off", "five off", "six off", "a chunk off"} {
		content := append(bytes.Repeat([]byte{'x'}, at), secrets["password"]...)
		if at == 7 {
			content = append(append(pad[:(256+16)<<10-9:(256+16)<<10-9], secrets["password"]...), 'x')
		}
		write(t, filepath.Join(store, name), content, 0o444)
	}
	write(t, filepath.Join(store, "cert"), []byte(secrets["cert"]), 0o444)
	write(t, filepath.Join(store, "in JSON"), quoted, 0o444)
	write(t, filepath.Join(store, "long"), []byte("x"+secrets["long"]), 0o444)
	write(t, filepath.Join(store, "nothing"), pad, 0o444)
	write(t, filepath.Join(store, "pin"), []byte("1234"), 0o444)
	write(t, filepath.Join(store, "cut"), []byte(secrets["password"][:20]), 0o444)
	if err := os.Symlink("/x/"+secrets["password"], filepath.Join(store, "link")); err != nil {
		t.Fatal(err)
	}
	const is = `: the value "password" of secrets/web.json`
	want := []string{"a chunk off" + is, `cert: the value "cert" of secrets/web.json`, "five off" + is, "four off" + is,
		`in JSON: the value "cert" of secrets/web.json`, "link" + is, `long: the value "long" of secrets/web.json`,
		"one off" + is, "six off" + is, "start" + is, "three off" + is, "two off" + is}
	if got := named(t, values, store); !slices.Equal(got, want) {
		t.Errorf("found %q\nwant %q", got, want)
	}
	values.Wipe()
	if got := named(t, values, store); len(got) != 0 {
		t.Errorf("wiped, and found %q", got)
	}
}

// The real sops writes every format; its files open with several key groups too.
func TestValuesOfTheSopsCLI(t *testing.T) {
	sops := keysrctest.SopsCLI(t)
	id, other := newIdentity(t), newIdentity(t)
	me := id.Recipient().String()
	tree, store := t.TempDir(), t.TempDir()
	secrets := filepath.Join(tree, "secrets", "web")
	if err := os.MkdirAll(secrets, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, ".sops.yaml"), []byte("creation_rules:\n  - path_regex: groups\n    shamir_threshold: 2\n    key_groups:\n      - age: ["+me+"]\n      - age: ["+me+"]\n      - age: ["+
		other.Recipient().String()+"]\n  - age: "+me+"\n"), 0o644)
	var want []string
	for name, form := range map[string]string{
		"a.yaml":      "# a comment that is long\ntop:\n  list:\n    - other\n  token: %s\n  on: true\n",
		"b.json":      `{"top":{"token":"%s"}}`,
		"c.env":       "token=%s\n",
		"d.ini":       "[top]\ntoken = %s\n",
		"e.bin":       "%s",
		"groups.yaml": "token: %s\n",
	} {
		secret := "value of the file " + name
		write(t, filepath.Join(secrets, name), fmt.Appendf(nil, form, secret), 0o644)
		cmd := exec.Command(sops, "encrypt", "-i", filepath.Join("secrets", "web", name))
		cmd.Dir = tree
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		write(t, filepath.Join(store, name), fmt.Appendf(nil, "a comment that is long, x%sx", secret), 0o444)
		key := "token"
		if name == "e.bin" {
			key = "data"
		}
		want = append(want, fmt.Sprintf("%s: the value %q of secrets/web/%s", name, key, name))
	}
	slices.Sort(want)
	values, err := readValues(t, id, tree)
	if err != nil {
		t.Fatal(err)
	}
	if got := named(t, values, store); !slices.Equal(got, want) {
		t.Errorf("found %q\nwant %q", got, want)
	}
}

func TestScanLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scanned.json")
	open := func() *keysrc.ScanLog {
		l, err := keysrc.OpenScanLog(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	one, two := keysrc.Look{Only: []string{"a", "b"}}, keysrc.Look{Only: []string{"a", "c"}}
	l := open()
	if !l.For(one) || len(l.New([]string{"x", "y"})) != 2 {
		t.Error("something was scanned already")
	}
	if err := l.Save([]string{"x"}); err != nil {
		t.Fatal(err)
	}
	l = open()
	if l.For(keysrc.Look{Only: []string{"b", "a"}}) || !slices.Equal(l.New([]string{"x", "y"}), []string{"y"}) {
		t.Error("forgot what was scanned")
	}
	if !l.For(two) || len(l.New([]string{"x"})) != 1 {
		t.Error("another look, and nothing is scanned anew")
	}
	write(t, path, []byte(`{"key":"","set":"","paths":["x"]}`), 0o600)
	if l = open(); !l.For(one) || len(l.New([]string{"x"})) != 1 {
		t.Error("a damaged file counts")
	}
}

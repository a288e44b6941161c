package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func parsed(texts ...string) unit {
	u := unit{}
	for _, t := range texts {
		u.parse(t)
	}
	return u
}

func TestCompare(t *testing.T) {
	const base = "[Unit]\nDescription=a\n[Service]\nExecStart=/bin/a\nEnvironment=X=1\nEnvironment=Y=2\n"
	for _, c := range []struct {
		name, is string
		want     change
	}{
		{"the same", base, same},
		{"comments and blanks", "# x\n; y\n\n" + base, same},
		{"order of keys", "[Service]\nEnvironment=X=1\nExecStart=/bin/a\nEnvironment=Y=2\n[Unit]\nDescription=a\n", same},
		{"order of one key's values", "[Unit]\nDescription=a\n[Service]\nExecStart=/bin/a\nEnvironment=Y=2\nEnvironment=X=1\n", changed},
		{"description", "[Unit]\nDescription=b\n[Service]\nExecStart=/bin/a\nEnvironment=X=1\nEnvironment=Y=2\n", same},
		{"install", base + "[Install]\nWantedBy=multi-user.target\n", same},
		{"reset and set again", base + "[Service]\nExecStart=\nExecStart=/bin/a\n", same},
		{"reset", base + "[Service]\nExecStart=\nExecStart=/bin/b\n", changed},
		{"new section", base + "[Socket]\nListenStream=1\n", changed},
		{"reload trigger", base + "[Unit]\nX-Reload-Triggers=/x\n", reloadable},
		{"reload trigger and more", base + "[Unit]\nX-Reload-Triggers=/x\nAfter=b\n", changed},
		{"continued line", "[Unit]\nDescription=a\n[Service]\nExecStart=\\\n/bin/a\nEnvironment=X=1\nEnvironment=Y=2\n", same},
		{"restart trigger", base + "[Unit]\nX-Restart-Triggers=/x\n", changed},
	} {
		if got := compare(parsed(base), parsed(c.is)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := compare(parsed("[Mount]\nWhat=a\nOptions=b\n"), parsed("[Mount]\nWhat=a\nOptions=c\n")); got != reloadable {
		t.Errorf("a mount's options: %v", got)
	}
}

func TestFlag(t *testing.T) {
	for _, c := range []struct {
		text      string
		def, want bool
	}{
		{"", true, true}, {"", false, false},
		{"[Unit]\nX-A=false\n", true, false}, {"[Service]\nX-A=no\n", true, false},
		{"[Unit]\nX-A=Yes\n", false, true}, {"[Unit]\nX-A=0\n", true, false},
		{"[Unit]\nX-A=perhaps\n", true, true}, {"[Unit]\nX-A=true\nX-A=false\n", true, false},
	} {
		if got := parsed(c.text).flag("X-A", c.def); got != c.want {
			t.Errorf("%q, by default %v: %v", c.text, c.def, got)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.service": "[Service]\nExecStart=/bin/a\n", "a.service.d/2.conf": "[Service]\nExecStart=/bin/2\n",
		"a.service.d/1.conf": "[Service]\nExecStart=\n", "t@.service": "[Service]\nExecStart=/bin/t\n",
		"t@x.service.d/1.conf": "[Service]\nUser=x\n", "t@.service.d/1.conf": "[Service]\nGroup=t\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "masked.service")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"a.service": {"/bin/2"}, "t@x.service": {"/bin/t"}, "t@y.service": {"/bin/t"},
		"masked.service": nil, "none.service": nil,
	} {
		u, err := load(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := u["Service"]["ExecStart"]; !slices.Equal(got, want) || (u == nil) != (want == nil) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	u, err := load(dir, "t@x.service")
	if err != nil || len(u["Service"]["User"]) != 1 || len(u["Service"]["Group"]) != 1 {
		t.Errorf("drop-ins of an instance: %v, %v", u, err)
	}
}

func TestTemplate(t *testing.T) {
	for name, want := range map[string]string{"a@b.service": "a@.service", "a@.service": "", "a.service": "", "a@b.c.service": "a@.service", "a.b@": ""} {
		if got := template(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

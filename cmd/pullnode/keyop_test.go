package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func identityIn(t *testing.T, path string) age.Identity {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", path, st.Mode())
	}
	ids, err := age.ParseIdentities(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

// A new host's key opens what it is to open, and nothing else; the comments of
// .sops.yaml are as they were.
func TestKeyNew(t *testing.T) {
	o := newKeyOps(t)
	stick := t.TempDir()
	o.call(exitFailed, "key", "new", "web03", "--out", stick, "--for", "usb")
	said := o.call(exitOK, "key", "new", "web03", "--out", stick, "--for", "usb", "--with", "recovery,operators", "--also", "secrets/shared.yaml")
	id := identityIn(t, filepath.Join(stick, "web03.age"))
	if !o.opens(id, "secrets/shared.yaml") || o.opens(id, "hosts/web01/secrets.yaml") {
		t.Error("web03 does not open exactly what it should")
	}
	o.secret("hosts/web03/secrets.yaml", "token: three\n")
	if !o.opens(id, "hosts/web03/secrets.yaml") || !o.opens(o.ids["recovery"], "hosts/web03/secrets.yaml") {
		t.Error("the new rule is not for web03 and the recovery key")
	}
	conf := o.read(".sops.yaml")
	for _, want := range []string{"# Who opens what.\n", "# in the cellar\n", "# its own\n", "*operators # edits\n", "  - &web03 age1", "          - *web03\n", "age: [*recovery, *operators, *web03]\n", `^hosts/web03/secrets\.yaml$`} {
		if !strings.Contains(conf, want) {
			t.Errorf("want %q in\n%s", want, conf)
		}
	}
	if strings.Contains(said+conf, "AGE-SECRET-KEY") {
		t.Error("the private key is shown")
	}
	// Once more: nothing changes.
	o.call(exitOK, "key", "new", "web03", "--out", stick, "--for", "usb", "--also", "secrets/shared.yaml")
	if again := o.read(".sops.yaml"); again != conf {
		t.Errorf("changed again:\n%s", again)
	}
	o.call(exitFailed, "key", "new", "web03", "--out", filepath.Join(stick, "another.age"))
	o.golden("key/new", stick, "STICK")
}

// New keys are as those of the files that they join.
func TestKeyNewFollows(t *testing.T) {
	o := newKeyOps(t)
	dir := t.TempDir()
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	o.Write(".sops.yaml", "creation_rules:\n  - path_regex: ^hosts/new/\n    age: "+pq.Recipient().String()+"\n  - path_regex: ^hosts/web01/\n    age: "+o.key("operators")+"\n")
	o.call(exitOK, "key", "new", "new", "--out", dir)
	if _, ok := identityIn(t, filepath.Join(dir, "new.age")).(*age.HybridIdentity); !ok {
		t.Error("the key is not post-quantum")
	}
	said := o.call(exitOK, "key", "new", "web01", "--out", dir, "--pq")
	if _, ok := identityIn(t, filepath.Join(dir, "web01.age")).(*age.HybridIdentity); !ok || !strings.Contains(said, "it is as strong as the others") {
		t.Error(said)
	}
	o.Write(".sops.yaml", "creation_rules:\n  - path_regex: ^hosts/web02/\n    age: "+o.key("operators")+"\n")
	o.call(exitOK, "key", "new", "web02", "--out", dir)
	if _, ok := identityIn(t, filepath.Join(dir, "web02.age")).(*age.X25519Identity); !ok {
		t.Error("the key is not X25519")
	}
}

// The first call leaves both keys in, the second the new one alone, with a data key
// that the old one has never seen.
func TestKeyRotate(t *testing.T) {
	o := newKeyOps(t)
	dir := t.TempDir()
	o.call(exitFailed, "key", "rotate", "web01", "--finish")
	o.call(exitOK, "key", "rotate", "web01", "--new", "--out", dir)
	now, files := identityIn(t, filepath.Join(dir, "web01.age")), []string{"hosts/web01/secrets.yaml", "secrets/shared.yaml"}
	for _, f := range files {
		if !o.opens(now, f) || !o.opens(o.ids["web01"], f) {
			t.Errorf("%s is not for both", f)
		}
	}
	o.commit("both")
	before := o.cipher("secrets/shared.yaml")
	o.call(exitFailed, "key", "rotate", "web01", "--to", o.key("third"))
	o.call(exitOK, "key", "rotate", "web01", "--finish")
	for _, f := range files {
		if !o.opens(now, f) || o.opens(o.ids["web01"], f) || !o.opens(o.ids["recovery"], f) {
			t.Errorf("%s is not for the new key alone", f)
		}
	}
	if o.cipher("secrets/shared.yaml") == before {
		t.Error("the data key is the same")
	}
	if conf := o.read(".sops.yaml"); strings.Contains(conf, o.key("web01")) || strings.Contains(conf, "*web01\n") {
		t.Errorf("%s", conf)
	}
	o.golden("key/rotate", dir, "DIR")
}

// A key that was lost opens nothing any more, the others all that they did, and the
// values that it could read are named; no value is.
func TestKeyRevoke(t *testing.T) {
	o := newKeyOps(t)
	o.secret("hosts/web01/old.yaml", "gone: hunter2\n")
	o.commit("a secret")
	o.Git("rm", "-q", "hosts/web01/old.yaml")
	o.commit("that went")
	was := o.read(".sops.yaml")
	o.call(exitOK, "key", "revoke", "web01", "--list")
	if o.read(".sops.yaml") != was {
		t.Error("--list changed something")
	}
	said := o.call(exitOK, "key", "revoke", "web01")
	for _, f := range []string{"hosts/web01/secrets.yaml", "secrets/shared.yaml"} {
		if o.opens(o.ids["web01"], f) || !o.opens(o.ids["recovery"], f) {
			t.Errorf("%s is still for the lost key, or not for the others", f)
		}
	}
	if !o.opens(o.ids["web02"], "secrets/shared.yaml") {
		t.Error("web02 was shut out too")
	}
	if strings.Contains(said, "hunter2") || strings.Contains(said, "geheim") {
		t.Error("a value is shown")
	}
	o.call(exitFailed, "key", "revoke", "web01")
	o.golden("key/revoke")
}

// Without anchors a host is found again by the comment behind its recipient.
func TestKeyRotateWithoutAnchors(t *testing.T) {
	o := newKeyOps(t)
	dir := t.TempDir()
	o.Write(".sops.yaml", "# ours\ncreation_rules: []\n")
	o.call(exitOK, "key", "new", "web04", "--out", dir, "--with", o.key("recovery")+","+o.key("operators"))
	o.secret("hosts/web04/secrets.yaml", "token: four\n")
	old := identityIn(t, filepath.Join(dir, "web04.age"))
	o.call(exitOK, "key", "rotate", "web04", "--to", o.key("next"))
	if !o.opens(old, "hosts/web04/secrets.yaml") || !o.opens(o.ids["next"], "hosts/web04/secrets.yaml") {
		t.Error("it is not for both")
	}
	o.call(exitFailed, "key", "rotate", "web04", "--finish")
	o.call(exitOK, "key", "rotate", "web04", "--finish", "--to", o.key("next"))
	if o.opens(old, "hosts/web04/secrets.yaml") || !o.opens(o.ids["next"], "hosts/web04/secrets.yaml") {
		t.Error("it is not for the new one alone")
	}
	o.golden("key/without-anchors", dir, "DIR")
	golden(t, "key/without-anchors-sops", strings.NewReplacer(o.key("recovery"), "age1<recovery>", o.key("operators"), "age1<operators>", o.key("next"), "age1<next>").Replace(o.read(".sops.yaml")))
}

// The private key alone is on the standard output.
func TestKeyToStandardOutput(t *testing.T) {
	o := newKeyOps(t)
	for _, args := range [][]string{{"new", "web03", "--with", "recovery,operators"}, {"rotate", "web01", "--new"}} {
		said := o.call(exitOK, append([]string{"key"}, append(args, "--out", "-", "--for", "tpm")...)...)
		if ids, err := age.ParseIdentities(strings.NewReader(said)); err != nil || len(ids) != 1 || strings.Count(said, "\n") != 1 {
			t.Errorf("%v: %d lines: %v", args, strings.Count(said, "\n"), err)
		}
	}
}

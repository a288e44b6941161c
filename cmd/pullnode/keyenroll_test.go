package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/internal/enrol"
	"pullnode/keysrc/keysrctest"
)

// A host makes its key, asks, and is answered; the operator knows it by the
// fingerprint of its SSH host key, and by nothing in the request.
func TestKeyEnrollAndApprove(t *testing.T) {
	o := newKeyOps(t)
	ssh, fingerprint := sshKey(t)
	dir := t.TempDir()
	key, request := filepath.Join(dir, "host.age"), filepath.Join(dir, "request")
	o.seen = append(o.seen, typed("key", "enroll", "--host", "web03", "--config", filepath.Join(dir, "none"), "--source", "file:"+key, "--new", "--ssh-key", ssh, "--out", request))
	id := identityIn(t, key)
	approve := func(exit int, types string, more ...string) string {
		t.Helper()
		feed(t, types)
		return o.call(exit, append([]string{"key", "approve", request, "--with", "recovery,operators", "--also", "secrets/shared.yaml"}, more...)...)
	}
	was := o.read(".sops.yaml")
	approve(exitFailed, "SHA256:another\n")
	approve(exitFailed, "")
	if o.read(".sops.yaml") != was || o.opens(id, "secrets/shared.yaml") {
		t.Error("it was approved")
	}
	approve(exitOK, "yes\n")
	if !o.opens(id, "secrets/shared.yaml") || o.opens(id, "hosts/web01/secrets.yaml") {
		t.Error("web03 does not open exactly what it should")
	}
	approve(exitOK, "", "--fingerprint", fingerprint) // once more
	o.secret("hosts/web03/secrets.yaml", "token: three\n")
	if !o.opens(id, "hosts/web03/secrets.yaml") {
		t.Error("the rule is not for web03")
	}
	raw, err := os.ReadFile(request)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(raw), "host: web03", "host: web01", 1)
	if err := os.WriteFile(request, []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := approve(exitFailed, "", "--fingerprint", fingerprint); !strings.Contains(said, "the request was changed") {
		t.Error(said)
	}
	o.golden("key/enroll", dir, "DIR", ssh, "SSHKEY", fingerprint, "SHA256:FINGERPRINT")
}

// A host that was installed anew gets its new key beside the old one, and what to call
// is said only when the fingerprint was right.
func TestKeyApproveAnew(t *testing.T) {
	o := newKeyOps(t)
	ssh, fingerprint := sshKey(t)
	text := typed("key", "enroll", "--host", "web01", "--config", filepath.Join(t.TempDir(), "none"), "--source", "ssh-host-key:"+ssh, "--ssh-key", ssh)
	r, err := enrol.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	was, rotate := o.read(".sops.yaml"), "pullnode key rotate web01 --to "+r.Recipient
	approve := func(more ...string) string {
		t.Helper()
		feed(t, text)
		return o.call(exitFailed, append([]string{"key", "approve", "-"}, more...)...)
	}
	if said := approve("--fingerprint", "SHA256:another"); strings.Contains(said, rotate) {
		t.Error(said)
	}
	if said := approve(); !strings.Contains(said, "nobody can be asked") {
		t.Error(said)
	}
	if said := approve("--fingerprint", fingerprint); !strings.Contains(said, "web01 has a key already") || !strings.Contains(said, rotate) {
		t.Error(said)
	}
	if o.read(".sops.yaml") != was {
		t.Error("something was changed")
	}
	o.call(exitOK, "key", "rotate", "web01", "--to", r.Recipient)
	if !strings.Contains(o.read("hosts/web01/secrets.yaml"), r.Recipient) {
		t.Error("the file is not for the new key")
	}
}

// The request that a host prints is one whatever stands around it, for each source
// whose key the host has itself.
func TestKeyEnrollSources(t *testing.T) {
	ssh, fingerprint := sshKey(t)
	dir := t.TempDir()
	tpm := keysrctest.StartTPM(t)
	settings := filepath.Join(dir, "pullnode.json")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"ssh host key": {[]string{"--source", "ssh-host-key:" + ssh}, `^age1[0-9a-z]{58}$`},
		"tpm":          {[]string{"--new", "--source", fmt.Sprintf(`{"type":"tpm","path":%q,"device":%q,"pcrs":[7]}`, dir+"/host.tpm", tpm.Socket)}, `^age1tag1`},
		"pq":           {[]string{"--new", "--pq", "--source", "file:" + dir + "/pq.age"}, `^age1pq1`},
	} {
		said := typed(append([]string{"key", "enroll", "--host", "web03", "--config", settings, "--ssh-key", ssh}, c.args...)...)
		r, err := enrol.Parse(said)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, said)
			continue
		}
		if !regexp.MustCompile(c.want).MatchString(r.Recipient) || r.Host != "web03" || r.Fingerprint != fingerprint {
			t.Errorf("%s: %+v", name, r)
		}
		if again := typed(append([]string{"key", "enroll", "--host", "web03", "--config", settings, "--ssh-key", ssh}, c.args...)...); !strings.Contains(again, r.Recipient) {
			t.Errorf("%s: another key the second time:\n%s", name, again)
		}
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "own.age"), []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for say, args := range map[string][]string{
		"absent":                       {"--source", "file:" + dir + "/none"},
		"sshd makes its key by itself": {"--new", "--source", "ssh-host-key"},
		"takes its key from elsewhere": {"--new", "--source", `{"type":"usb","label":"X","file":"a"}`},
		"made by its own program":      {"--new", "--source", `{"type":"yubikey","serial":1,"slot":"82","pinFile":"/x"}`},
		"unknown":                      {"--source", "floppy:x"},
		"no such file":                 {"--source", "file:" + dir + "/own.age", "--ssh-key", dir + "/none"},
		"is no SSH private key":        {"--source", "file:" + dir + "/own.age", "--ssh-key", dir + "/own.age"},
		"is no host":                   {"--source", "file:" + dir + "/own.age", "--host", "Web 3"},
	} {
		if out := typed(append([]string{"key", "enroll", "--config", settings, "--host", "web03", "--ssh-key", ssh}, args...)...); !strings.Contains(out, say) || strings.Contains(out, "exit status 0") {
			t.Errorf("want %q in\n%s", say, out)
		}
	}
}

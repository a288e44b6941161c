package sync

import (
	"bytes"
	"strings"
	"testing"
)

// What a policy says does not depend on how often it is read, and what is in
// force can be fulfilled.
func FuzzParseRules(f *testing.F) {
	list := makeLine(f, 0).signers
	f.Add([]byte("group ops alice\nadmin ops need 1\ndeploy prod-* ops\ndeploy * alice # all\n"))
	f.Add([]byte("admin alice need 2"))
	f.Add([]byte("group need alice\nadmin @need need need 1"))
	f.Add([]byte("deploy ***a* alice\nadmin alice"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := map[string][]byte{SignersPath: []byte(list), RulesPath: raw}
		r, err := ParseRules(files)
		if err != nil {
			return
		}
		if r.Admin.Need != 1 || !r.Admin.Has("alice") {
			t.Errorf("%q lets nobody change it: %+v", raw, r.Admin)
		}
		for _, host := range []string{"prod-1", "", strings.Repeat("a", 64)} {
			if d, ok := r.For(host); ok && (d.Need != 1 || !d.Has("alice")) {
				t.Errorf("%q lets nobody deploy %q: %+v", raw, host, d)
			}
		}
	})
}

// No bytes but those that the key's holder made verify, and never a panic.
func FuzzSSHSignature(f *testing.F) {
	l := makeLine(f, 1)
	c, err := ParseCommit([]byte(l.commits[1]))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.signature)
	f.Add(strings.Replace(c.signature, "\n", "\n\n", 1))
	f.Add(sshBegin + "U1NIU0lHAAAAAQ==\n" + sshEnd)
	f.Fuzz(func(t *testing.T, armored string) {
		s, err := sshFormat{}.Verify(c.payload, armored, nil)
		if err == nil && armored != c.signature && s.Fingerprint == l.intro.Fingerprint {
			t.Errorf("another encoding verifies: %q", armored)
		}
	})
}

func FuzzPGPSignature(f *testing.F) {
	f.Add(pgpBegin + "\niHUEABYKAB0WIQQ=\n=AAAA\n" + pgpEnd)
	f.Add(pgpBegin + "\n" + pgpEnd)
	f.Fuzz(func(t *testing.T, armored string) {
		s := &Signers{byKey: map[string]string{}, certs: map[string]*cert{}}
		if sig, err := (pgpFormat{}).Verify([]byte("payload"), armored, s); err == nil {
			t.Errorf("verified by no key: %+v", sig)
		}
	})
}

func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list := "alice openpgp4fpr:" + strings.Repeat("A", 40) + "\n"
		if _, err := ParseRules(map[string][]byte{SignersPath: []byte(list), KeysDir + "/a.asc": raw}); err == nil {
			t.Error("a certificate without that key was taken for it")
		}
	})
}

// A stream that was changed anywhere is refused, or it says the same.
func FuzzStream(f *testing.F) {
	l := makeLine(f, 3)
	good := l.stream(0)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.Replace(good, []byte(" tree "), []byte(" blob "), 1))
	f.Add(append(bytes.Clone(good), good[70:]...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := StreamReader{Want: Want{Request: 1, Trusted: string(l.intro.Commit), Ancestry: true}, Spool: &memory{}}.Read(bytes.NewReader(raw))
		if err != nil {
			return
		}
		v, verdict := Policy{Introduction: l.intro, Host: "x"}.Judge(s)
		if verdict.Refused() {
			return
		}
		for _, id := range l.ids {
			if v.Commit().ID == id {
				return
			}
		}
		t.Errorf("accepted %s, which nobody signed", v.Commit().ID)
	})
}

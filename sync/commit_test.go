package sync

import (
	"strings"
	"testing"
)

const plain = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n"

func TestParseCommitRefuses(t *testing.T) {
	tree := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	parent := "parent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	for name, raw := range map[string]string{
		"second tree":      tree + tree + plain[46:] + "\nm",
		"late parent":      plain + parent + "\nm",
		"late tree":        plain + tree + "\nm",
		"parent twice":     tree + parent + parent + plain[46:] + "\nm",
		"nul":              plain + "\nm\x00m",
		"two signatures":   plain + "gpgsig a\ngpgsig b\n\nm",
		"sha256 signature": plain + "gpgsig-sha256 a\n\nm",
		"signature first":  plain + "gpgsig a\nencoding x\n\nm",
		"no author":        tree + "committer A <a@b> 1 +0000\n\nm",
		"strange author":   strings.Replace(plain, "author A <a@b> 1", "author A 1", 1) + "\nm",
		"no body":          plain,
		"upper-case id":    strings.ToUpper(tree) + plain[46:] + "\nm",
		"encoding twice":   plain + "encoding a\nencoding b\n\nm",
		"long":             plain + "\n" + strings.Repeat("m", maxCommit),
	} {
		if c, err := ParseCommit([]byte(raw)); err == nil {
			t.Errorf("%s: parsed as %+v", name, c)
		}
	}
	c, err := ParseCommit([]byte(plain + "change-id xyz\nmergetag a\n b\n\nsubject\n\nbody\n"))
	if err != nil || c.Subject() != "subject" || c.Author != "A <a@b>" || c.Signed() {
		t.Errorf("plain commit: %+v, %v", c, err)
	}
}

// Whatever the bytes are, parsing never panics, and what is accepted has one
// reading: its parts put together again are the same bytes.
func FuzzParseCommit(f *testing.F) {
	f.Add([]byte(plain + "gpgsig -----BEGIN SSH SIGNATURE-----\n x\n -----END SSH SIGNATURE-----\n\nm\n"))
	f.Add([]byte(plain + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCommit(raw)
		if err != nil {
			return
		}
		if c.Signed() {
			c.verify(nil)
			return
		}
		if string(c.payload) != string(raw) {
			t.Errorf("payload %q of %q", c.payload, raw)
		}
	})
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("x", 20)))
	f.Fuzz(func(t *testing.T, raw []byte) { parseTree(raw) })
}

func FuzzParseSigners(f *testing.F) {
	f.Add([]byte("alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ"))
	f.Fuzz(func(t *testing.T, raw []byte) { ParseSigners(raw) })
}

func TestParseSignersRefuses(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPZUs5mBZ8Yg8X9Z6nB0QmDPJ3SG9S1wZlJZ0g3m8Jc"
	for line, say := range map[string]string{
		"":                            "names no signer",
		"*@x " + key:                  "patterns",
		"a,b " + key:                  "patterns",
		"a cert-authority " + key:     `"cert-authority" is not accepted`,
		`a valid-after="2020" ` + key: "is not accepted",
		`a namespaces="file" ` + key:  "is not accepted",
		"a ssh-dss AAAA":              "is not accepted",
		"a ssh-ed25519 !!!!":          "not base64",
		"a " + key + "\nb " + key:     "same key",
		"a ssh-rsa" + key[11:]:        "malformed or not of the type",
		// What one reader takes for the end of a line or for a space, and another not.
		"\ufeffa " + key:          "not accepted",
		"a " + key + "\rb " + key: "not accepted",
		"a\v" + key:               "not accepted",
		"a\u00a0" + key:           "not accepted",
		"a " + key + "\u2028":     "not accepted",
		"a " + key + " x\x00":     "not accepted",
		"# \x1b[2J\na " + key:     "not accepted",
		"@a " + key:               "stands for a group",
	} {
		_, err := ParseSigners([]byte(line + "\n"))
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v, want %q", line, err, say)
		}
	}
}

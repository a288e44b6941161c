package sync_test

import (
	"os/exec"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/sync"
)

// gpg makes a key with GnuPG in a home of its own, and gives its fingerprint and
// certificate.
func gpg(t *testing.T, r *gitrig.Repo, name, kind, usage string) (fingerprint, certificate string) {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing (Debian package gpg)")
	}
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("gpg", append([]string{"--homedir", r.Keys, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v", args, err)
		}
		return string(out)
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", r.Keys, "--kill", "all").Run() })
	run("--quick-gen-key", name, kind, usage, "1d")
	for _, l := range strings.Split(run("--with-colons", "--list-keys", name), "\n") {
		if f := strings.Split(l, ":"); f[0] == "fpr" {
			return f[9], run("--armor", "--export", name)
		}
	}
	t.Fatal("no fingerprint")
	return "", ""
}

func TestOpenPGP(t *testing.T) {
	r, n := start(t)
	n.accept(r.Head())
	fp, cert := gpg(t, r, "gina", "ed25519", "sign")
	rsa, rsaCert := gpg(t, r, "rob", "rsa3072", "sign")
	_, _ = gpg(t, r, "mallory", "ed25519", "sign")
	signers := r.Signer("alice") + "\ngina openpgp4fpr:" + fp + "\nrob openpgp4fpr:" + strings.ToLower(rsa) + "\n"
	r.Write(sync.SignersPath, signers)
	n.refuse(r.Commit("alice", "without certificates"), sync.PolicyBad, "certificate of")
	r.Git("reset", "-q", "--hard", "HEAD~1")
	certifies, certifiesCert := gpg(t, r, "carl", "ed25519", "cert")
	r.Write(sync.SignersPath, r.Signer("alice")+"\ncarl openpgp4fpr:"+certifies+"\n")
	r.Write(sync.KeysDir+"/carl.asc", certifiesCert)
	n.refuse(r.Commit("alice", "a key that may certify only"), sync.PolicyBad, "no key that may sign")
	r.Git("reset", "-q", "--hard", "HEAD~1")
	r.Write(sync.SignersPath, signers)
	r.Write(sync.KeysDir+"/gina.asc", cert)
	r.Write(sync.KeysDir+"/rob.asc", rsaCert)
	n.accept(r.Commit("alice", "list OpenPGP keys"))
	by := func(who string) string {
		r.Git("-c", "gpg.format=openpgp", "-c", "user.signingkey="+who, "commit", "-q", "--allow-empty", "-S", "-m", "by "+who)
		return r.Head()
	}
	t.Setenv("GNUPGHOME", r.Keys)
	n.accept(by("gina"))
	n.accept(by("rob"))
	base := r.Head()
	n.refuse(by("mallory"), sync.UnknownKey, "openpgp4fpr:")
	r.Git("reset", "-q", "--hard", base)
	n.policy.Revoked = []string{"openpgp4fpr:" + fp}
	n.refuse(by("gina"), sync.UnknownKey, "revokedKeys")
	n.policy.Revoked = nil

	raw := r.Git("cat-file", "commit", r.Head()) + "\n"
	for name, change := range map[string]func(string) string{
		"message": func(s string) string { return strings.Replace(s, "by gina", "by vina", 1) },
		"comment": func(s string) string {
			return strings.Replace(s, "SIGNATURE-----\n \n", "SIGNATURE-----\n Comment: x\n \n", 1)
		},
		"one line": func(s string) string { return strings.Replace(s, "=\n -----END", "=\n \n -----END", 1) },
		"twice": func(s string) string {
			i := strings.Index(s, "-----BEGIN")
			j := strings.Index(s, "-----END PGP SIGNATURE-----\n") + 28
			return s[:j] + " " + s[i:j] + s[j:]
		},
	} {
		twisted := change(raw)
		if twisted == raw {
			continue // this signature has no such place
		}
		r.Git("reset", "-q", "--hard", base)
		r.RawCommit(twisted)
		n.refuse(r.Head(), sync.Malformed, "openpgp signature")
		if t.Failed() {
			t.Log(name, twisted)
		}
	}
}

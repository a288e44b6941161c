package gitrig

import (
	"os"
	"os/exec"
	"strings"
)

// GPG is a keyring of its own, for OpenPGP signatures made by gpg.
type GPG struct {
	Home string
	r    *Repo
}

// GPG makes an empty keyring that goes with the test.
func (r *Repo) GPG() *GPG {
	r.tb.Helper()
	// Not below the test's directory: the agent's socket has a short path.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	return &GPG{Home: home, r: r}
}

func (g *GPG) gpg(args ...string) string {
	g.r.tb.Helper()
	return g.r.run("", "gpg", append([]string{"--homedir", g.Home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
}

// Key makes a key of an algorithm that gpg knows, such as ed25519 or rsa3072, and
// gives its fingerprint.
func (g *GPG) Key(name, algo string) string {
	g.r.tb.Helper()
	g.gpg("--quick-gen-key", name+" <"+name+"@example.org>", algo, "sign", "never")
	for _, l := range strings.Split(g.gpg("--with-colons", "--list-keys", name), "\n") {
		if f := strings.Split(l, ":"); f[0] == "fpr" {
			return f[9]
		}
	}
	g.r.tb.Fatal("gpg lists no key")
	return ""
}

// Cert gives the armored certificate of a key.
func (g *GPG) Cert(name string) string { return g.gpg("--armor", "--export", name) }

// Commit commits everything, signed by gpg with a key.
func (g *GPG) Commit(fingerprint, message string) string {
	r := g.r
	r.tb.Helper()
	r.Git("add", "-A")
	r.Git("-c", "gpg.format=openpgp", "-c", "gpg.program="+g.wrapper(), "-c", "user.signingkey="+fingerprint+"!",
		"commit", "-q", "-S", "--allow-empty", "-m", message)
	return r.Head()
}

// wrapper is gpg with this keyring, as git can call it.
func (g *GPG) wrapper() string {
	path := g.Home + "/gpg"
	script := "#!/bin/sh\nexec gpg --homedir '" + g.Home + "' --batch --no-tty \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		g.r.tb.Fatal(err)
	}
	return path
}

// On gives the keyring for the calls of a part of its test.
func (g *GPG) On(r *Repo) *GPG { return &GPG{Home: g.Home, r: r} }

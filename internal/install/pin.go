package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// alias is the one name that a pin's known_hosts has. Ports and addresses may
// change while a machine is installed; its name here does not.
const alias = "pullnode-target"

// Pin is a directory with an ssh that talks only to a machine which shows one of
// the pinned host keys. First on PATH, it is what every tool starts: OpenSSH obeys
// the first value of an option, and the pin's come before those of the tool, so a
// tool that passes StrictHostKeyChecking=no gets the check all the same.
type Pin struct {
	Dir string
}

// NewPin makes a pin in a new directory. At least one key must be given.
func NewPin(dir string, keys ...ssh.PublicKey) (*Pin, error) {
	if len(keys) == 0 {
		return nil, errors.New("no host key to pin")
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return nil, errors.New("ssh is not in PATH (Debian package openssh-client)")
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if strings.ContainsAny(dir, " %\"'\\$`\n") {
		return nil, fmt.Errorf("the directory %q has characters that ssh reads in its own way; set TMPDIR", dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	p := &Pin{dir}
	var known, prints []string
	for _, k := range keys {
		known = append(known, alias+" "+string(ssh.MarshalAuthorizedKey(k)))
		prints = append(prints, ssh.FingerprintSHA256(k))
	}
	refuse := "#!/bin/sh\necho 'pullnode: this program does not check the pinned host key; refused' >&2\nexit 255\n"
	for name, text := range map[string]string{
		"known_hosts": strings.Join(known, ""),
		"ssh": "#!/bin/sh\n# Only the pinned host key; options that follow cannot change that.\nexec " + quote(program) +
			" -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" + dir + "/known_hosts -o GlobalKnownHostsFile=none" +
			" -o HostKeyAlias=" + alias + " -o CheckHostIP=no -o VerifyHostKeyDNS=no -o UpdateHostKeys=no" +
			" -o ControlMaster=no -o ControlPath=none -o 'KnownHostsCommand=" + dir + "/offered %I %f' \"$@\"\n",
		// ssh asks it about every key that a server shows. It knows none, and notes
		// those that are not pinned.
		"offered": "#!/bin/sh\n[ \"$1\" = HOSTNAME ] || exit 0\ncase $2 in\n" + strings.Join(prints, "|") + ") ;;\n*) echo \"$2\" > " + quote(dir+"/other") + " ;;\nesac\n",
		"scp":     refuse, "sftp": refuse, "rsync": refuse,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Env is an environment in which ssh is the pin's.
func (p *Pin) Env(env []string) []string {
	return append(env, "PATH="+p.Dir+":"+os.Getenv("PATH"))
}

// Other gives the fingerprint of the host key that a server showed and that is not
// pinned; empty when there was none.
func (p *Pin) Other() string {
	raw, _ := os.ReadFile(filepath.Join(p.Dir, "other"))
	return strings.TrimSpace(string(raw))
}

// Err explains an ssh that failed, if the pin is why.
func (p *Pin) Err(err error) error {
	if err == nil || p.Other() == "" {
		return err
	}
	return fmt.Errorf("the machine shows the SSH host key %s, which is not the pinned one; it was not talked to", p.Other())
}

// Login is a machine and how to reach it.
type Login struct {
	User, Host string
	Port       string   // ssh's own when empty
	Identity   string   // a private key; ssh's own when empty
	Options    []string // of ssh, as behind -o
}

// ParseLogin reads USER@HOST; the user is root where none is given.
func ParseLogin(s string) (Login, error) {
	user, host, ok := strings.Cut(s, "@")
	if !ok {
		user, host = "root", s
	}
	bad := func(s string) bool {
		return s == "" || s[0] == '-' || strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:%-", r))
		})
	}
	if bad(user) || bad(host) {
		return Login{}, fmt.Errorf("%q is no login; write it like root@203.0.113.7", s)
	}
	return Login{User: user, Host: host}, nil
}

func (l Login) String() string { return l.User + "@" + l.Host }

// Command is ssh's command line that runs a shell command there.
func (p *Pin) Command(l Login, command string) []string {
	argv := []string{filepath.Join(p.Dir, "ssh"), "-o", "ConnectTimeout=10"}
	if l.Port != "" {
		argv = append(argv, "-p", l.Port)
	}
	if l.Identity != "" {
		argv = append(argv, "-i", l.Identity)
	}
	for _, o := range l.Options {
		argv = append(argv, "-o", o)
	}
	return append(argv, "--", l.String(), command)
}

// Over gives a Run for the programs of the other machine.
func (p *Pin) Over(l Login, run Run) Run {
	return func(ctx context.Context, argv ...string) ([]byte, error) {
		var words []string
		for _, a := range argv {
			words = append(words, quote(a))
		}
		out, err := run(ctx, p.Command(l, strings.Join(words, " "))...)
		return out, p.Err(err)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ReadHostKeys gives the public keys of a file: a known_hosts, of which only the
// lines of this host and port count, or keys as in *.pub.
func ReadHostKeys(ctx context.Context, file string, l Login, run Run) ([]ssh.PublicKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for line := range strings.Lines(string(raw)) {
		if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && strings.HasPrefix(line, k.Type()) {
			keys = append(keys, k)
		}
	}
	if len(keys) > 0 {
		return keys, nil
	}
	name := l.Host
	if l.Port != "" && l.Port != "22" {
		name = "[" + l.Host + "]:" + l.Port
	}
	out, err := run(ctx, "ssh-keygen", "-F", name, "-f", file)
	if err == nil {
		keys = knownHosts(out)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no SSH host key of %s", file, name)
	}
	return keys, nil
}

// ScanHostKeys asks the machine which host keys it has. Nothing says yet that it is
// the right machine: the caller compares.
func ScanHostKeys(ctx context.Context, l Login, run Run) ([]ssh.PublicKey, error) {
	argv := []string{"ssh-keyscan", "-T", "10"}
	if l.Port != "" {
		argv = append(argv, "-p", l.Port)
	}
	out, err := run(ctx, append(argv, "--", l.Host)...)
	if keys := knownHosts(out); len(keys) > 0 {
		return keys, nil
	}
	if err != nil {
		return nil, fmt.Errorf("no SSH host key from %s: %w", net.JoinHostPort(l.Host, l.Port), err)
	}
	return nil, fmt.Errorf("%s shows no SSH host key", l.Host)
}

func knownHosts(raw []byte) (keys []ssh.PublicKey) {
	for len(raw) > 0 {
		marker, _, key, _, rest, err := ssh.ParseKnownHosts(raw)
		if err != nil {
			return keys // io.EOF, or a line that is none: what follows is not guessed at
		}
		if marker == "" { // neither a revoked key nor a certificate authority
			keys = append(keys, key)
		}
		raw = rest
	}
	return keys
}

// Watch cancels when a server shows a key that is not pinned. Tools try again
// forever to reach a machine; they must not when it is another one.
func (p *Pin) Watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
		if p.Other() != "" {
			cancel(errors.New("another host key"))
			return
		}
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/durable"
)

// signingKey gives git's SSH signing key and the name to list it under.
func (i *initializer) signingKey() (ssh.PublicKey, string, error) {
	set := []string{"make one: ssh-keygen -t ed25519", "and name it, here: git config user.signingkey ~/.ssh/id_ed25519.pub"}
	v, err := gitIn(i.ctx, i.dir, "config", "user.signingkey")
	if err != nil || v == "" {
		return nil, "", hint(errors.New("git has no signing key"), set...)
	}
	raw := []byte(strings.TrimPrefix(v, "key::"))
	if !bytes.HasPrefix(raw, []byte("ssh-")) && !bytes.HasPrefix(raw, []byte("sk-")) && !bytes.HasPrefix(raw, []byte("ecdsa-")) {
		file := v
		if rest, ok := strings.CutPrefix(v, "~/"); ok {
			file = filepath.Join(os.Getenv("HOME"), rest)
		}
		if raw, err = os.ReadFile(strings.TrimSuffix(file, ".pub") + ".pub"); err != nil {
			if format, _ := gitIn(i.ctx, i.dir, "config", "gpg.format"); format != "ssh" && !strings.Contains(v, "/") {
				return nil, "", hint(fmt.Errorf("git signs with the OpenPGP or X.509 key %q; nodes take SSH signatures", v), append(set, "an SSH key on a hardware token will do: ssh-keygen -t ed25519-sk")...)
			}
			return nil, "", hint(fmt.Errorf("git's signing key %q is no SSH key that can be read", v), set...)
		}
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		return nil, "", hint(fmt.Errorf("git's signing key: %w", err), set...)
	}
	who, err := gitIn(i.ctx, i.dir, "config", "user.email")
	if err != nil || who == "" {
		return nil, "", hint(errors.New("git does not know who you are"), "git config user.email you@example.org")
	}
	return pub, who, nil
}

// offerSigning asks whether git is to sign by itself from now on.
func (i *initializer) offerSigning() bool {
	format, _ := gitIn(i.ctx, i.dir, "config", "gpg.format")
	always, _ := gitIn(i.ctx, i.dir, "config", "--type=bool", "commit.gpgsign")
	return (format != "ssh" || always != "true") &&
		i.yes("Sign every commit in this repository from now on (gpg.format=ssh, commit.gpgsign=true)? [Y/n] ", true)
}

// offerRecovery makes an offline key, of which it gives the public half and the
// file; declining is one keystroke.
func (i *initializer) offerRecovery() (pub, path string, err error) {
	file := i.recovery
	if file == "" {
		fmt.Fprint(i.say, "File for an offline recovery key, on a medium that you lock away (Enter: none): ")
		line, err := i.in.ReadString('\n')
		if err != nil {
			fmt.Fprintln(i.say)
		}
		file = strings.TrimSpace(line)
	}
	if file == "" || file == "none" {
		fmt.Fprintln(i.say, "! without a recovery key, losing the signing key means touching every node")
		return "", "", nil
	}
	if abs, err := filepath.Abs(file); err != nil {
		return "", "", err
	} else if rel, err := filepath.Rel(i.dir, abs); err == nil && filepath.IsLocal(rel) {
		return "", "", hint(fmt.Errorf("%s is in the repository, where everybody who clones it would get the recovery key", file), "name a file on a medium that you lock away")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "pullnode recovery")
	if err != nil {
		return "", "", err
	}
	if err := durable.CreateExclusive(file, pem.EncodeToMemory(block), 0o600); err != nil {
		if errors.Is(err, os.ErrExist) {
			err = hint(fmt.Errorf("%s is there already; a key is never written over another", file), "name another file, or none")
		}
		return "", "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), file, nil
}

func (i *initializer) yes(question string, def bool) bool {
	fmt.Fprint(i.say, question)
	line, err := i.in.ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(i.say)
		return def
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "":
		return def
	case "y", "yes":
		return true
	}
	return false
}

// gitIn runs the git CLI, as the operator who typed the command.
func gitIn(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := gitRaw(ctx, dir, nil, "", args...)
	return strings.TrimSpace(string(out)), err
}

// elsewhere are the variables, some of them set in hooks, by which git would look
// into another repository than the one it is told.
var elsewhere = []string{"GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
	"GIT_NAMESPACE", "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE"}

// gitRaw is gitIn with the output as it is, with more in the environment and with
// a standard input.
func gitRaw(ctx context.Context, dir string, env []string, stdin string, args ...string) ([]byte, error) {
	cmd := gitCommand(ctx, dir, env, args...)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		verb := args[0]
		for n := 0; verb == "-c" && n+2 < len(args); n += 2 {
			verb = args[n+2]
		}
		return nil, fmt.Errorf("git %s: %s", verb, strings.TrimSpace(errs.String()))
	}
	return out, nil
}

func gitCommand(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(elsewhere, name)
	}), env...)
	return cmd
}

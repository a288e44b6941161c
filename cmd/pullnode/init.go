package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/durable"
	"pullnode/sync"
)

func initCommand() *command {
	var dir, recovery string
	return &command{args: "[--repo DIR] [--recovery-key FILE|none]", short: "make a repository that nodes can trust",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&dir, "repo", ".", "the configuration repository")
			fs.StringVar(&recovery, "recovery-key", "", "write an offline recovery key here; none declines without asking")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			i := &initializer{ctx: ctx, out: out, in: bufio.NewReader(os.Stdin), recovery: recovery}
			top, err := gitIn(ctx, dir, "rev-parse", "--show-toplevel")
			if err != nil {
				return hint(fmt.Errorf("%s is not a Git repository", dir), "git init -b main "+dir)
			}
			i.dir = top
			return i.run()
		}}
}

type initializer struct {
	ctx      context.Context
	dir      string
	out      io.Writer
	in       *bufio.Reader
	recovery string
}

func (i *initializer) run() error {
	pub, who, err := i.signingKey()
	if err != nil {
		return err
	}
	path := filepath.Join(i.dir, sync.SignersPath)
	if _, err := os.Stat(path); err == nil {
		return hint(fmt.Errorf("%s is there already", sync.SignersPath), "the repository has an introduction; pullnode verify checks it")
	}
	line := fmt.Sprintf("%s namespaces=\"git\" %s", who, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))))
	if _, err := sync.ParseSigners([]byte(line + "\n")); err != nil {
		return err
	}
	if err := i.offerSigning(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(path, []byte(line+"\n"), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"add", sync.SignersPath}, {"-c", "gpg.format=ssh", "commit", "-q", "-S", "-m", "pullnode: introduce " + who, "--", sync.SignersPath}} {
		if _, err := gitIn(i.ctx, i.dir, args...); err != nil {
			return hint(err, "the file is written; commit it signed, then run pullnode init again after removing it")
		}
	}
	head, err := gitIn(i.ctx, i.dir, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	intro := head + "@" + ssh.FingerprintSHA256(pub)
	if _, err := gitIn(i.ctx, i.dir, "config", "pullnode.introduction", intro); err != nil {
		return err
	}
	recoveryKey, err := i.offerRecovery()
	if err != nil {
		return err
	}
	url, err := gitIn(i.ctx, i.dir, "remote", "get-url", "origin")
	if err != nil || !strings.HasPrefix(url, "https://") {
		url = "https://git.example.org/infra.git"
	}
	fmt.Fprintf(i.out, "\nOn each node:\n\n  services.pullnode = {\n    enable = true;\n    settings = {\n      url = %q;\n      introduction = %q;\n", url, intro)
	if recoveryKey != "" {
		fmt.Fprintf(i.out, "      recoveryKey = %q;\n", recoveryKey)
	}
	fmt.Fprintf(i.out, "    };\n  };\n\nNow: git push, and pullnode verify\n")
	return nil
}

// signingKey gives git's SSH signing key and the name to list it under.
func (i *initializer) signingKey() (ssh.PublicKey, string, error) {
	set := []string{"ssh-keygen -t ed25519", "git config --global user.signingkey ~/.ssh/id_ed25519.pub"}
	v, err := gitIn(i.ctx, i.dir, "config", "user.signingkey")
	if err != nil || v == "" {
		return nil, "", hint(errors.New("git has no signing key"), set...)
	}
	raw := []byte(strings.TrimPrefix(v, "key::"))
	if !bytes.HasPrefix(raw, []byte("ssh-")) && !bytes.HasPrefix(raw, []byte("sk-")) && !bytes.HasPrefix(raw, []byte("ecdsa-")) {
		if rest, ok := strings.CutPrefix(v, "~/"); ok {
			v = filepath.Join(os.Getenv("HOME"), rest)
		}
		if raw, err = os.ReadFile(strings.TrimSuffix(v, ".pub") + ".pub"); err != nil {
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

// offerSigning offers to make git sign by itself from now on.
func (i *initializer) offerSigning() error {
	format, _ := gitIn(i.ctx, i.dir, "config", "gpg.format")
	always, _ := gitIn(i.ctx, i.dir, "config", "--type=bool", "commit.gpgsign")
	if format == "ssh" && always == "true" {
		return nil
	}
	if !i.yes("Sign every commit in this repository from now on (gpg.format=ssh, commit.gpgsign=true)? [Y/n] ", true) {
		return nil
	}
	if _, err := gitIn(i.ctx, i.dir, "config", "gpg.format", "ssh"); err != nil {
		return err
	}
	_, err := gitIn(i.ctx, i.dir, "config", "commit.gpgsign", "true")
	return err
}

// offerRecovery makes an offline key; declining is one keystroke.
func (i *initializer) offerRecovery() (string, error) {
	file := i.recovery
	if file == "" {
		fmt.Fprint(i.out, "File for an offline recovery key, on a medium that you lock away (Enter: none): ")
		line, _ := i.in.ReadString('\n')
		file = strings.TrimSpace(line)
	}
	if file == "" || file == "none" {
		fmt.Fprintln(i.out, "! without a recovery key, losing the signing key means touching every node")
		return "", nil
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "pullnode recovery")
	if err != nil {
		return "", err
	}
	if err := durable.CreateExclusive(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

func (i *initializer) yes(question string, def bool) bool {
	fmt.Fprint(i.out, question)
	line, err := i.in.ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(i.out)
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
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

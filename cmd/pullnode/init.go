package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/durable"
	"pullnode/sync"
)

func initCommand() *command {
	var dir, recovery string
	var asJSON bool
	return &command{args: "[--repo DIR] [--recovery-key FILE|none] [--json]", short: "make a repository that nodes can trust",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&dir, "repo", ".", "the configuration repository")
			fs.StringVar(&recovery, "recovery-key", "", "write an offline recovery key here; none declines without asking")
			jsonFlag(fs, &asJSON)
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			i := &initializer{ctx: ctx, in: bufio.NewReader(os.Stdin), say: out, recovery: recovery}
			if asJSON {
				i.say = os.Stderr // questions and warnings: out is for a program
			}
			top, err := gitIn(ctx, dir, "rev-parse", "--show-toplevel")
			if err != nil || top == "" {
				return hint(fmt.Errorf("%s is not a Git repository with a work tree", dir), "git init -b main "+dir)
			}
			i.dir = top
			made, err := i.run()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, made)
			}
			return made.print(out)
		}}
}

// introduced is what init gives to whoever sets up the nodes.
type introduced struct {
	Introduction string   `json:"introduction"`
	Signers      []string `json:"signers"` // "principal SHA256:…", in the order of the file
	URL          string   `json:"url"`     // of the remote origin, or an example
	RecoveryKey  string   `json:"recoveryKey,omitempty"`
	Again        bool     `json:"again,omitempty"` // it was made earlier; nothing was changed
}

func (m introduced) print(out io.Writer) error {
	if m.Again {
		fmt.Fprintln(out, "This repository is introduced already; nothing was changed.")
	}
	fmt.Fprintf(out, "\nOn each node:\n\n  services.pullnode = {\n    enable = true;\n    settings = {\n      url = %q;\n      introduction = %q;\n", m.URL, m.Introduction)
	if m.RecoveryKey != "" {
		fmt.Fprintf(out, "      recoveryKey = %q;\n", m.RecoveryKey)
	}
	_, err := fmt.Fprintf(out, "    };\n  };\n\nNow: git push, and pullnode verify\n")
	return err
}

// initializer asks everything first and changes the repository only then, so that
// whoever stops in the middle finds it as it was.
type initializer struct {
	ctx      context.Context
	dir      string
	say      io.Writer
	in       *bufio.Reader
	recovery string
}

func (i *initializer) run() (introduced, error) {
	path := filepath.Join(i.dir, sync.SignersPath)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return introduced{}, err
	}
	if m, ok := i.earlier(old); ok {
		return m, nil
	}
	pub, who, err := i.signingKey()
	if err != nil {
		return introduced{}, err
	}
	text, err := i.signers(old, who, pub)
	if err != nil {
		return introduced{}, err
	}
	list, err := sync.ParseSigners(text)
	if err != nil {
		return introduced{}, err
	}
	always := i.offerSigning()
	recovery, file, err := i.offerRecovery()
	if err != nil {
		return introduced{}, err
	}
	if err := i.commit(path, old, text, who); err != nil {
		if file != "" {
			os.Remove(file) // a key that nothing will ever honour
		}
		return introduced{}, err
	}
	head, err := gitIn(i.ctx, i.dir, "rev-parse", "HEAD")
	if err != nil {
		return introduced{}, err
	}
	m := introduced{Introduction: head + "@" + ssh.FingerprintSHA256(pub), Signers: list.List(), URL: i.url(), RecoveryKey: recovery}
	set := map[string]string{"pullnode.introduction": m.Introduction}
	if recovery != "" {
		set["pullnode.recoveryKey"] = recovery
	}
	if always {
		set["gpg.format"], set["commit.gpgsign"] = "ssh", "true"
	}
	for name, value := range set {
		if _, err := gitIn(i.ctx, i.dir, "config", name, value); err != nil {
			return introduced{}, err
		}
	}
	return m, nil
}

// earlier gives what an earlier run in this clone has made.
func (i *initializer) earlier(signers []byte) (introduced, bool) {
	intro, err := gitIn(i.ctx, i.dir, "config", "pullnode.introduction")
	if err != nil || signers == nil {
		return introduced{}, false
	}
	if _, err := sync.ParseIntroduction(intro); err != nil {
		return introduced{}, false
	}
	m := introduced{Introduction: intro, URL: i.url(), Again: true}
	m.RecoveryKey, _ = gitIn(i.ctx, i.dir, "config", "pullnode.recoveryKey")
	if list, err := sync.ParseSigners(signers); err == nil {
		m.Signers = list.List()
	}
	return m, true
}

// signers gives the file of allowed signers. Whoever is listed in one that is
// there already may sign from now on, so that is asked about.
func (i *initializer) signers(old []byte, who string, pub ssh.PublicKey) ([]byte, error) {
	line := fmt.Sprintf("%s namespaces=\"git\" %s\n", who, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))))
	if len(strings.TrimSpace(string(old))) == 0 {
		return []byte(line), nil
	}
	list, err := sync.ParseSigners(old)
	if err != nil {
		return nil, hint(fmt.Errorf("the file of allowed signers that is there: %w", err), "put the line right, or move the file away")
	}
	fmt.Fprintf(i.say, "%s is there already. These may sign what your nodes run:\n", sync.SignersPath)
	for _, s := range list.List() {
		fmt.Fprintln(i.say, "  "+safe(s))
	}
	if !i.yes("Introduce the repository anew, with them? [y/N] ", false) {
		return nil, hint(errors.New("nothing was changed"), "if it was introduced in another clone: git config pullnode.introduction ID@SHA256:FINGERPRINT, as in the nodes' settings")
	}
	if _, ok := list.Who(ssh.FingerprintSHA256(pub)); ok {
		return old, nil
	}
	return append(append([]byte(strings.TrimRight(string(old), "\n")), '\n'), line...), nil
}

// commit makes the signed commit, of this one file, whatever else is staged or
// changed. When Git will not, the file is as it was.
func (i *initializer) commit(path string, old, text []byte, who string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	tracked, _ := gitIn(i.ctx, i.dir, "ls-files", "--", sync.SignersPath)
	_, err := gitIn(i.ctx, i.dir, "add", "-f", "--", sync.SignersPath)
	if err == nil {
		_, err = gitIn(i.ctx, i.dir, "-c", "gpg.format=ssh", "commit", "-q", "--allow-empty", "-S", "-m", "pullnode: introduce "+who, "--only", "--", sync.SignersPath)
	}
	if err == nil {
		return nil
	}
	var undo error
	if tracked == "" {
		_, undo = gitIn(i.ctx, i.dir, "rm", "-q", "-f", "--cached", "--", sync.SignersPath)
	}
	if old == nil {
		undo = errors.Join(undo, os.Remove(path))
		os.Remove(filepath.Dir(path)) // if it is empty
	} else if !slices.Equal(old, text) {
		undo = errors.Join(undo, durable.WriteFile(path, old, 0o644))
	}
	if undo != nil {
		return hint(err, "and the file could not be put back: "+undo.Error())
	}
	return hint(err, "nothing was changed: put right what git says, then run pullnode init again")
}

func (i *initializer) url() string {
	url, err := gitIn(i.ctx, i.dir, "remote", "get-url", "origin")
	if err != nil || !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "ssh://") {
		return "https://git.example.org/infra.git"
	}
	return url
}

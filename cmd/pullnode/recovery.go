package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"pullnode/keysrc"
	"pullnode/keysrc/shares"
)

// recoveryInitCommand makes an identity that exists only as shares of people.
func recoveryInitCommand() *command {
	var n, k int
	var pq bool
	return &command{short: "make a recovery key and print its shares, one for each keeper", flags: func(fs *flag.FlagSet) {
		fs.IntVar(&n, "shares", 5, "how many keepers there are")
		fs.IntVar(&k, "threshold", 3, "how many of them it needs")
		fs.BoolVar(&pq, "pq", false, "a post-quantum key; all other recipients of a file must be such")
	}, run: func(_ context.Context, _ []string, out io.Writer) error {
		text, recipient, err := newIdentityText(pq)
		if err != nil {
			return err
		}
		all, err := shares.Split([]byte(text), k, n)
		if err != nil {
			return usageError("recovery init: %v", err)
		}
		fmt.Fprintf(out, "recipient  %s\n", recipient)
		for i, s := range all {
			fmt.Fprintf(out, "\nshare %d of %d, any %d open every secret that is encrypted for the recipient\n%s\n", i+1, n, k, s)
		}
		fmt.Fprintln(out, "\nnext     give each share to one keeper, on paper; add the recipient to .sops.yaml; pullnode recovery test FILE")
		return nil
	}}
}

func newIdentityText(pq bool) (text, recipient string, err error) {
	if pq {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", "", err
		}
		return id.String(), id.Recipient().String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return id.String(), id.Recipient().String(), nil
}

// sharesKey reads shares, one a line, until there are enough of them.
func sharesKey(in io.Reader) (*keysrc.Key, error) {
	var lines []string
	for s := bufio.NewScanner(io.LimitReader(in, identityInput)); s.Scan(); {
		if l := strings.TrimSpace(s.Text()); l != "" {
			lines = append(lines, l)
		}
	}
	text, err := shares.Combine(lines)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	return keysrc.ParseKey(text)
}

// recoveryTestCommand proves that the shares open files, and shows nothing.
func recoveryTestCommand() *command {
	return &command{args: "FILE...", minArg: 1, maxArg: 1000, short: "prove that the shares on standard input, one a line, open these SOPS files",
		run: func(_ context.Context, args []string, out io.Writer) error {
			k, err := sharesKey(stdin)
			if err != nil {
				return err
			}
			defer k.Wipe()
			var metas []keysrc.Meta
			for _, path := range args {
				raw, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				m, err := keysrc.ReadMeta(path, raw)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				metas = append(metas, m)
			}
			if err := keysrc.Judge(k.Recipients(), keysrc.Preflight(k.Identities(), metas)); err != nil {
				return err
			}
			fmt.Fprintf(out, "the shares open all %d files\n", len(metas))
			return nil
		}}
}

// recoveryUseCommand lends the key to a command, which asks for it by the age
// plugin and never gets it. It is dropped when the command ends.
func recoveryUseCommand() *command {
	return &command{args: "COMMAND...", minArg: 1, maxArg: 1000, verbatim: true, short: "run a command, such as sops updatekeys, that may decrypt with the shares on standard input",
		run: func(ctx context.Context, args []string, out io.Writer) error {
			k, err := sharesKey(stdin)
			if err != nil {
				return err
			}
			return lend(ctx, k, args, out)
		}}
}

type given struct{ k *keysrc.Key }

func (g given) Fetch(context.Context) (*keysrc.Key, error) { return g.k, nil }

// lend runs argv with an agent of its own that holds k. The identity file that
// age and sops find names the agent's socket and holds no secret.
func lend(ctx context.Context, k *keysrc.Key, argv []string, out io.Writer) error {
	defer k.Wipe()
	dir, err := os.MkdirTemp("", "pullnode-lend-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(dir, keysrc.PluginProgram)); err != nil {
		return err
	}
	socket, file := filepath.Join(dir, "age.sock"), filepath.Join(dir, "age-plugin.txt")
	if err := os.WriteFile(file, []byte(keysrc.PluginIdentity(socket)+"\n"), 0o600); err != nil {
		return err
	}
	l, err := keysrc.Listen(socket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	a := &keysrc.Agent{Keys: given{k}, OwnUser: true}
	go func() { done <- a.Serve(ctx, l) }()
	defer func() { cancel(); <-done }()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "SOPS_AGE_KEY_FILE="+file, "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	return err
}

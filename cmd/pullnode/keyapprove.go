package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"pullnode/internal/enrol"
)

// keyApproveCommand takes a host's request into .sops.yaml.
func keyApproveCommand() *command {
	j := &join{}
	var repo, fingerprint string
	return &command{args: "REQUEST [--fingerprint SHA256:…] [--also FILES] [--with WHO]", minArg: 1, maxArg: 1,
		short: "check a host's request (a file, or - for the standard input) and encrypt its secrets for its key",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.StringVar(&fingerprint, "fingerprint", "", "of the host's SSH key, from elsewhere; it is not asked for then")
			j.flags(fs)
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			in := bufio.NewReader(stdin)
			text, err := requestText(args[0], in)
			if err != nil {
				return err
			}
			q, err := enrol.Parse(text)
			if err != nil {
				return fmt.Errorf("%s is no request to approve: %w", args[0], err)
			}
			r, err := openSecretRepo(ctx, repo, out)
			if err != nil {
				return err
			}
			j.host = q.Host
			fmt.Fprintf(out, "host     %s\nkey      %s, from %s\nsigned   %s, %s\n", q.Host, q.Recipient, q.Source, q.Fingerprint, ago(time.Now(), q.Made))
			rules, err := j.rules(r)
			if err != nil {
				return err
			}
			if fingerprint == "" {
				fmt.Fprintf(out, "\nDoes ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub say the same on %s?\nType yes, or the fingerprint as it stands there: ", q.Host)
				if args[0] == "-" {
					fmt.Fprintln(out)
					return hint(errors.New("nothing was done: nobody can be asked"), "say --fingerprint SHA256:…")
				}
				line, _ := in.ReadString('\n')
				fmt.Fprintln(out)
				if fingerprint = strings.TrimSpace(line); fingerprint == "yes" {
					fingerprint = q.Fingerprint
				}
			}
			if fingerprint != q.Fingerprint {
				return hint(fmt.Errorf("the request was signed by %s, not by %.60q: nothing was done", q.Fingerprint, fingerprint), "if the second is the host's, somebody else made this request")
			}
			// After the fingerprint, so that the recipient can be trusted in what it hints at.
			if err := j.fresh(r, q.Recipient); err != nil {
				return err
			}
			if err := j.do(r, rules, q.Recipient); err != nil {
				return err
			}
			fmt.Fprintf(out, "\nNext:\n  pin it: services.pullnode.settings.keys.recipient = \"%s\"; in hosts/%s/default.nix\n  git add -A && git commit -S && git push\n", q.Recipient, q.Host)
			return nil
		}}
}

func requestText(name string, in io.Reader) (string, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, identityInput))
	return string(raw), err
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"pullnode/internal/config"
	"pullnode/internal/durable"
	"pullnode/internal/enrol"
	"pullnode/keysrc"
)

const sshHostKeyPath = "/" + newHostKey

// keyEnrollCommand is called on the host: it proves that the host's source gives a
// key, and writes what the operator approves. The private key stays where it is.
func keyEnrollCommand() *command {
	var conf, host, source, sshKey, place string
	var fresh, pq bool
	return &command{args: "[--source TYPE[:PATH]] [--new] [--host NAME] [--out FILE]", short: "on a host: ask that its secrets are encrypted for the key that it has",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&conf, "config", configPath, "settings file, whose keys.sources give the key where --source is not said")
			fs.StringVar(&host, "host", "", "its folder in hosts/ (default: its host name)")
			fs.StringVar(&source, "source", "", "what gives its key: file:PATH, tpm:PATH, ssh-host-key, or a source's settings as JSON")
			fs.BoolVar(&fresh, "new", false, "make the key first, for the sources file and tpm")
			fs.BoolVar(&pq, "pq", false, "with --new for a file: a post-quantum key")
			fs.StringVar(&sshKey, "ssh-key", sshHostKeyPath, "the SSH host key (ed25519) that signs the request")
			fs.StringVar(&place, "out", "", "write the request here, instead of the standard output")
		},
		run: func(ctx context.Context, _ []string, out io.Writer) error {
			if host == "" {
				name, err := os.Hostname()
				if err != nil {
					return err
				}
				host, _, _ = strings.Cut(name, ".")
			}
			ch, err := enrolSources(ctx, source, conf, fresh, pq, out)
			if err != nil {
				return err
			}
			text, r, err := enroll(ctx, ch, host, sshKey)
			if err != nil {
				return err
			}
			if place == "" {
				fmt.Fprint(out, text+"\n")
			} else if err := durable.WriteFile(place, []byte(text), 0o644); err != nil {
				return err
			} else {
				fmt.Fprintf(out, "request  %s\n", place)
			}
			fmt.Fprintf(out, "host     %s\nkey      %s, from %s\nsigned   %s\n\nNext:\n  pullnode key approve REQUEST   # in a clone; it asks for the line above that begins with SHA256\n", r.Host, r.Recipient, r.Source, r.Fingerprint)
			return nil
		}}
}

// enrolSources opens the sources, and makes the key where that is asked.
func enrolSources(ctx context.Context, source, conf string, fresh, pq bool, out io.Writer) (keysrc.Chain, error) {
	if source == "" {
		c, err := config.Load(conf)
		if err == nil && len(c.Keys.Sources) > 0 {
			if fresh {
				return keysrc.Chain{}, usageError("key enroll: --new needs --source, as %s may have several", conf)
			}
			return chain(c)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return keysrc.Chain{}, err
		}
		source = "ssh-host-key"
	}
	raw := json.RawMessage(source)
	var s struct{ Type, Path, Device string }
	if !strings.HasPrefix(source, "{") {
		s.Type, s.Path, _ = strings.Cut(source, ":")
		set := map[string]string{"type": s.Type}
		if s.Path != "" {
			set["path"] = s.Path
		}
		var err error
		if raw, err = json.Marshal(set); err != nil {
			return keysrc.Chain{}, err
		}
	} else if err := json.Unmarshal(raw, &s); err != nil {
		return keysrc.Chain{}, usageError("--source: %v", err)
	}
	ch, err := keysrc.OpenAll([]json.RawMessage{raw})
	if err != nil {
		return ch, usageError("--source: %v", err)
	}
	if !fresh {
		return ch, nil
	}
	return ch, makeForSource(ctx, s.Type, s.Path, raw, pq, out)
}

func makeForSource(ctx context.Context, kind, path string, raw json.RawMessage, pq bool, out io.Writer) error {
	if _, err := os.Lstat(path); err == nil && (kind == "file" || kind == "tpm") {
		fmt.Fprintf(out, "%s is there already: its key is taken\n", path)
		return nil
	}
	switch kind {
	case "file":
		text, _, err := newIdentityText(pq)
		if err != nil {
			return err
		}
		return writeKey(path, text+"\n")
	case "tpm":
		t := struct {
			Device string
			PCRs   *[]int
		}{PCRs: &[]int{7}}
		if err := json.Unmarshal(raw, &t); err != nil {
			return usageError("--source: %v", err)
		}
		blob, _, err := keysrc.TPM{Device: t.Device, PCRs: *t.PCRs}.NewKey(ctx)
		if err != nil {
			return err
		}
		return durable.CreateExclusive(path, blob, 0o600)
	case "ssh-host-key":
		return hint(usageError("--new: sshd makes its key by itself"), "sudo ssh-keygen -A; then without --new")
	case "yubikey":
		return hint(usageError("--new: a YubiKey's key is made by its own program"), "age-plugin-yubikey --generate --slot 1 --pin-policy once --touch-policy never; then without --new")
	}
	return hint(usageError("--new: the source %q takes its key from elsewhere", kind), "in a clone: pullnode key new HOST --for "+kind+" --out FILE")
}

// enroll makes the request of a key that was seen to decrypt.
func enroll(ctx context.Context, ch keysrc.Chain, host, sshKey string) (string, enrol.Request, error) {
	var r enrol.Request
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	k, err := ch.Fetch(ctx)
	if errors.Is(err, keysrc.ErrAbsent) {
		return "", r, hint(err, "to make a key: pullnode key enroll --new --source tpm:/var/lib/host.tpm, or file:/var/lib/host.age")
	}
	if err != nil {
		return "", r, err
	}
	defer k.Wipe()
	if err := proveKey(k); err != nil {
		return "", r, fmt.Errorf("%s: %w", k.From(), err)
	}
	pem, err := os.ReadFile(sshKey)
	if err != nil {
		return "", r, hint(err, "sudo ssh-keygen -A makes it")
	}
	signer, err := ssh.ParsePrivateKey(pem)
	clear(pem)
	if err != nil {
		return "", r, fmt.Errorf("%s is no SSH private key without a passphrase", sshKey)
	}
	r = enrol.Request{Host: host, Recipient: k.Recipient(), Source: k.From(), Made: time.Now().UTC().Truncate(time.Second), Fingerprint: ssh.FingerprintSHA256(signer.PublicKey())}
	text, err := enrol.Sign(r, signer)
	if err != nil {
		return "", r, err
	}
	_, err = enrol.Parse(text) // as the operator will
	return text, r, err
}

// proveKey has the key open what was encrypted for its public half.
func proveKey(k *keysrc.Key) error {
	to, err := enrol.ParseRecipient(k.Recipient())
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, err := age.Decrypt(&sealed, k.Identities()...); err != nil {
		return fmt.Errorf("does not open what is encrypted for it: %w", err)
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"pullnode/internal/durable"
	"pullnode/keysrc"
)

// keyNewCommand makes a host's identity on the operator's machine, for the sources
// that take one from elsewhere.
func keyNewCommand() *command {
	j := &join{}
	var repo, place, kind string
	var pq bool
	return &command{args: "HOST --out FILE|DIR|- [--for SOURCE] [--pq] [--also FILES] [--with WHO]", minArg: 1, maxArg: 1,
		short: "make a host's key, add it to .sops.yaml and encrypt the host's secrets for it",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.StringVar(&place, "out", "", "where the private key is put, outside of the repository: a file, a directory such as a stick's, or - for the standard output")
			fs.StringVar(&kind, "for", "file", "the source that the host will have it from: "+strings.Join(carried, ", "))
			fs.BoolVar(&pq, "pq", false, "a post-quantum key, also where the other recipients are not")
			j.flags(fs)
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			j.host = args[0]
			if err := checkKind(kind, j.host); err != nil {
				return err
			}
			if place == "" {
				return usageError("key new: say with --out where the private key is put")
			}
			said := out
			if place == "-" {
				said = os.Stderr // the key is alone on the standard output
			}
			r, err := openSecretRepo(ctx, repo, said)
			if err != nil {
				return err
			}
			return j.makeKey(r, place, kind, pq, out)
		}}
}

func (j *join) makeKey(r *secretRepo, place, kind string, pq bool, out io.Writer) error {
	rules, err := j.rules(r)
	if err != nil {
		return err
	}
	if !pq {
		var all []string
		for _, i := range rules {
			all = append(all, r.conf.Rules[i].Recipients()...)
		}
		pq, _ = quantum(all)
	}
	path, recipient, err := j.keep(r, place, pq, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "key      %s\npublic   %s\n", path, recipient)
	if err := j.do(r, rules, recipient); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "\nNext:\n%s  git add -A && git commit -S && git push\n", whereTo(kind, j.host, path))
	return nil
}

// keep makes the key and puts it where it belongs. A key that is there from a call
// that did not end is taken.
func (j *join) keep(r *secretRepo, place string, pq bool, out io.Writer) (path, recipient string, err error) {
	if place == "-" {
		if f, ok := out.(*os.File); ok {
			if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
				return "", "", hint(errors.New("the key would be shown on the terminal"), "pass it on: pullnode key new … --out - | ssh root@"+j.host+" pullnode key seal /var/lib/host.tpm")
			}
		}
		if err := j.possible(r, ""); err != nil {
			return "", "", err
		}
		text, recipient, err := newIdentityText(pq)
		if err == nil {
			_, err = io.WriteString(out, text+"\n")
		}
		return "-", recipient, err
	}
	if path, err = outside(r.top, place, j.host+".age"); err != nil {
		return "", "", err
	}
	raw, err := os.ReadFile(path)
	defer clear(raw)
	if err == nil {
		k, err := keysrc.ParseKey(raw)
		if err != nil {
			return "", "", fmt.Errorf("%s is there already and is no key: %w", path, err)
		}
		defer k.Wipe()
		fmt.Fprintf(r.out, "%s is there already: its key is taken\n", path)
		return path, k.Recipient(), j.possible(r, k.Recipient())
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", "", err
	}
	if err := j.possible(r, ""); err != nil {
		return "", "", err
	}
	text, recipient, err := newIdentityText(pq)
	if err != nil {
		return "", "", err
	}
	return path, recipient, writeKey(path, text+"\n")
}

// possible is asked before a key is made, so that a refusal leaves nothing behind.
func (j *join) possible(r *secretRepo, recipient string) error {
	if err := j.fresh(r, recipient); err != nil {
		return err
	}
	if j.successor {
		return nil
	}
	rules, err := j.rules(r)
	if err != nil {
		return err
	}
	// Any recipient shows whether the file can be edited and what it would need.
	try := *r
	if err := try.take(r.conf.Add(rules, cmp.Or(recipient, nobodysKey), j.host)); err != nil {
		return err
	}
	_, err = try.due(rules)
	return err
}

// nobodysKey is a recipient that nobody has.
const nobodysKey = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"

// outside gives the path of a private key, which is never in the repository.
func outside(top, place, name string) (string, error) {
	path, err := filepath.Abs(place)
	if err != nil {
		return "", err
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, name)
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if real, err := filepath.EvalSymlinks(top); err == nil {
		top = real
	}
	if rel, err := filepath.Rel(top, path); err == nil && filepath.IsLocal(rel) {
		return "", usageError("--out %s is in the repository: a private key must not be", place)
	}
	if strings.HasPrefix(path, "/nix/store/") {
		return "", usageError("--out %s is in the Nix store, which everybody can read", place)
	}
	return path, nil
}

// writeKey makes a file that only its owner can read. FAT has no hard links, by which
// the whole file would appear at once.
func writeKey(path, text string) error {
	err := durable.CreateExclusive(path, []byte(text), 0o600)
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// keyRotateCommand replaces a host's key in two calls: the first adds the new one
// beside the old, the second, when the host has been seen to use the new one, takes
// the old one away. So the host opens its secrets at every moment between.
func keyRotateCommand() *command {
	var repo, to, from, place, kind string
	var fresh, pq, finish bool
	return &command{args: "HOST --to RECIPIENT | --new --out FILE|DIR|- [--for SOURCE] | --finish", minArg: 1, maxArg: 1,
		short: "replace a host's key without a moment in which it opens nothing",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&repo, "repo", ".", "the configuration repository")
			fs.StringVar(&to, "to", "", "the new recipient, which the host has the key of; with --finish, where no name says which is the new one")
			fs.BoolVar(&fresh, "new", false, "make the new key here")
			fs.StringVar(&place, "out", "", "with --new: where the private key is put, as of key new")
			fs.StringVar(&kind, "for", "file", "with --new: the source that the host will have it from")
			fs.BoolVar(&pq, "pq", false, "with --new: a post-quantum key")
			fs.StringVar(&from, "from", "", "the old recipient, where .sops.yaml does not name it after the host")
			fs.BoolVar(&finish, "finish", false, "the host has opened its secrets with the new key: take the old one away")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			ways := 0
			for _, is := range []bool{to != "" && !finish, fresh, finish} {
				if is {
					ways++
				}
			}
			if ways != 1 {
				return usageError("key rotate: say one of --to RECIPIENT, --new and --finish")
			}
			if fresh && place == "" {
				return usageError("key rotate: say with --out where the private key is put")
			}
			if err := checkKind(kind, args[0]); fresh && err != nil {
				return err
			}
			said := out
			if fresh && place == "-" {
				said = os.Stderr // the key is alone on the standard output
			}
			r, err := openSecretRepo(ctx, repo, said)
			if err != nil {
				return err
			}
			host := args[0]
			keys := r.keysOf(host)
			if from != "" {
				keys = append([]string{from}, slices.DeleteFunc(keys, func(a string) bool { return a == from })...)
				if !slices.Contains(r.conf.Recipients(), from) {
					return usageError("--from: %s does not have %s", ".sops.yaml", from)
				}
			}
			if len(keys) == 0 {
				return hint(fmt.Errorf(".sops.yaml names no key after %s", host), "say which is its old one: --from RECIPIENT", "or name it: an anchor &"+strings.ReplaceAll(host, "-", "_")+", or a comment # "+host+" behind it")
			}
			if finish {
				if n := len(keys); n > 1 && from == "" && to == "" && r.keyNumber(keys[n-1]) == r.keyNumber(keys[n-2]) {
					return hint(fmt.Errorf("%s has %d keys, and no name says which is the new one", host, n), "say it: --to RECIPIENT; it has "+strings.Join(keys, ", "))
				}
				if to != "" {
					keys = append(slices.DeleteFunc(keys, func(a string) bool { return a == to }), to)
				}
				return r.finish(host, keys)
			}
			path := ""
			if fresh {
				if path, to, err = r.newKey(host, place, pq, keys, out); err != nil {
					return err
				}
			}
			return r.rotateTo(host, keys, to, path, kind)
		}}
}

// newKey makes the key that takes the place of the first of keys. A second one that
// was made by a call that did not end is taken.
func (r *secretRepo) newKey(host, place string, pq bool, keys []string, out io.Writer) (path, recipient string, err error) {
	if len(keys) > 1 {
		if path, err = outside(r.top, place, host+".age"); err != nil {
			return "", "", err
		}
		if _, err := os.Stat(path); err != nil {
			return "", "", rotating(host, keys)
		}
	}
	for _, rule := range r.conf.Rules {
		if all, _ := quantum(rule.Recipients()); slices.Contains(rule.Recipients(), keys[0]) && all {
			pq = true
		}
	}
	path, recipient, err = (&join{host: host, successor: true}).keep(r, place, pq, out)
	if err == nil {
		fmt.Fprintf(r.out, "key      %s\n", path)
	}
	return path, recipient, err
}

func rotating(host string, keys []string) error {
	return hint(fmt.Errorf("%s is being rotated already: it has %d keys", host, len(keys)), "pullnode key rotate "+host+" --finish")
}

// rotateTo adds a recipient beside the one that the host has.
func (r *secretRepo) rotateTo(host string, keys []string, to, path, kind string) error {
	if len(keys) > 1 && !slices.Contains(keys, to) {
		return rotating(host, keys)
	}
	old := keys[0]
	if old == to {
		return usageError("%s is the key that %s has", to, host)
	}
	if err := r.take(r.conf.Beside(old, to, host)); err != nil {
		return err
	}
	var rules []int
	for i, rule := range r.conf.Rules {
		if slices.Contains(rule.Recipients(), to) {
			rules = append(rules, i)
		}
	}
	files, err := r.due(rules)
	if err != nil {
		return err
	}
	if err := r.write(); err != nil {
		return err
	}
	if err := r.update(files); err != nil {
		return err
	}
	r.note(rules)
	fmt.Fprintf(r.out, "old      %s\nnew      %s\n\nBoth open the secrets of %s now. Next:\n  git add -A && git commit -S && git push\n", old, to, host)
	if path != "" {
		fmt.Fprintf(r.out, "  when %s runs that commit:\n%s", host, besideTo(kind, host, path))
	}
	fmt.Fprintf(r.out, "  on %s: sudo pullnode key show, until it names the new one\n"+
		"  pullnode key rotate %s --finish; in the same commit settings.keys.recipient, where it is set\n", host, host)
	return nil
}

// finish takes away what came before the newest key.
func (r *secretRepo) finish(host string, keys []string) error {
	if len(keys) < 2 {
		return hint(fmt.Errorf("%s has one key, %s: there is nothing to finish", host, keys[0]), "pullnode key rotate "+host+" --new --out FILE")
	}
	old, now := keys[:len(keys)-1], keys[len(keys)-1]
	files, err := r.files()
	if err != nil {
		return err
	}
	for _, m := range files {
		if rotateArgs(m, old) != nil && !slices.Contains(recipientsOf(m), now) {
			return hint(fmt.Errorf("%s is not encrypted for the new key: %s would lose it; nothing was changed", m.Name, host), "sops updatekeys -y "+m.Name)
		}
	}
	if err := r.drop(old); err != nil {
		return err
	}
	if err := r.left(old); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "key      %s\ngone     %s\n\nOlder commits are still encrypted for what is gone: whoever has that key and a clone\nreads the secrets as they were. If it was stolen: pullnode key revoke says which.\n", now, strings.Join(old, ", "))
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pullnode/internal/durable"
	"pullnode/internal/sopsconf"
	"pullnode/keysrc"
)

// secretRepo is a clone whose recipients are changed, in .sops.yaml and in the files.
type secretRepo struct {
	ctx  context.Context
	top  string
	out  io.Writer
	conf *sopsconf.File
	raw  []byte
	host []string // the folders of hosts/
}

func openSecretRepo(ctx context.Context, repo string, out io.Writer) (*secretRepo, error) {
	top, err := gitIn(ctx, repo, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, hint(usageError("%s is not a Git repository", repo), "pullnode key … --repo DIR")
	}
	r := &secretRepo{ctx: ctx, top: top, out: out}
	if r.raw, err = os.ReadFile(filepath.Join(top, sopsconf.Name)); errors.Is(err, os.ErrNotExist) {
		return nil, hint(fmt.Errorf("%s has no %s", top, sopsconf.Name), "docs/keys.md says what it holds")
	} else if err != nil {
		return nil, err
	}
	if r.conf, err = sopsconf.Parse(r.raw); err != nil {
		return nil, fmt.Errorf("%s: %w", sopsconf.Name, err)
	}
	entries, err := os.ReadDir(filepath.Join(top, "hosts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			r.host = append(r.host, e.Name())
		}
	}
	return r, nil
}

// take has r go on with an edited .sops.yaml; write puts it into the clone.
func (r *secretRepo) take(raw []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", sopsconf.Name, err)
	}
	conf, err := sopsconf.Parse(raw)
	if err == nil {
		r.conf, r.raw = conf, raw
	}
	return err
}

func (r *secretRepo) write() error {
	name := filepath.Join(r.top, sopsconf.Name)
	if was, err := os.ReadFile(name); err == nil && string(was) == string(r.raw) {
		return nil
	}
	if err := durable.WriteFile(name, r.raw, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "edited   %s\n", sopsconf.Name)
	return nil
}

// files are the SOPS files of the work tree, those that are not committed yet also.
func (r *secretRepo) files() ([]keysrc.Meta, error) {
	list, err := gitRaw(r.ctx, r.top, nil, "", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	var all []keysrc.Meta
	names := strings.Split(string(list), "\x00")
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if ext := path.Ext(name); name == "" || name == sopsconf.Name || ext == ".nix" || ext == ".md" {
			continue
		}
		full := filepath.Join(r.top, name)
		if st, err := os.Lstat(full); err != nil || !st.Mode().IsRegular() || st.Size() > 32<<20 {
			continue
		}
		raw, err := os.ReadFile(full)
		if err != nil {
			return nil, err
		}
		m, err := keysrc.ReadMeta(name, raw)
		if errors.Is(err, keysrc.ErrNotSOPS) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// recipientsOf are a file's, of age, in order and once each.
func recipientsOf(m keysrc.Meta) (all []string) {
	all = keysrc.Recipients([]keysrc.Meta{m})
	slices.Sort(all)
	return all
}

// outdated are the files that have other recipients than these rules say.
func (r *secretRepo) outdated(rules []int) (names []string, err error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	for _, m := range files {
		i, ok := r.conf.Match(m.Name)
		if !ok || !slices.Contains(rules, i) {
			continue
		}
		want := r.conf.Rules[i].Recipients()
		if slices.Sort(want); !slices.Equal(want, recipientsOf(m)) {
			names = append(names, m.Name)
		}
	}
	return names, nil
}

// due is outdated, and an error when there is no sops to update them with.
func (r *secretRepo) due(rules []int) ([]string, error) {
	files, err := r.outdated(rules)
	if err != nil {
		return nil, err
	}
	return files, needSops(updateCommands(files)...)
}

// rulesOf are the rules that a host's own files are encrypted by. A rule that other
// hosts' files share is an error unless shared says that this is wanted.
func (r *secretRepo) rulesOf(host string, shared bool) (rules []int, err error) {
	for _, n := range r.filesOf(host) {
		i, ok := r.conf.Match(n)
		if !ok || slices.Contains(rules, i) {
			continue
		}
		if other := r.shares(i, host); other != "" && !shared {
			return nil, hint(fmt.Errorf("%s line %d: the rule for %s is that of %s too, which %s would open", sopsconf.Name, r.conf.Rules[i].Line, n, other, host),
				"write a rule of its own above it, or say --shared")
		}
		rules = append(rules, i)
	}
	return rules, nil
}

// shares gives a file of another host that a rule is for.
func (r *secretRepo) shares(rule int, host string) string {
	for _, other := range r.host {
		for _, n := range r.filesOf(other) {
			if i, ok := r.conf.Match(n); ok && i == rule && other != host {
				return n
			}
		}
	}
	return ""
}

// filesOf are the files that are a host's by their place, and the one that it may yet
// have.
func (r *secretRepo) filesOf(host string) []string {
	names := []string{secretsOf(host)}
	metas, _, err := keysrc.Files(os.DirFS(r.top), host, nil)
	if err != nil {
		return names // a name that is no host's
	}
	for _, m := range metas {
		names = append(names, m.Name)
	}
	return names
}

func secretsOf(host string) string { return "hosts/" + host + "/secrets.yaml" }

// owns says whether a recipient is a host's by one of its names: an anchor or a
// comment that is the host's name, with _ for -, and perhaps what kind of thing it is
// before or which of several keys behind.
func (r *secretRepo) owns(host, recipient string) bool { return ownedBy(r.conf, host, recipient) }

func ownedBy(conf *sopsconf.File, host, recipient string) bool {
	re := regexp.MustCompile(`^(?:(?:host|server|machine|node|system)_)?` + regexp.QuoteMeta(strings.ReplaceAll(host, "-", "_")) + `(?:_key[0-9]+)?$`)
	return slices.ContainsFunc(conf.Names(recipient), func(n string) bool { return re.MatchString(strings.ReplaceAll(n, "-", "_")) })
}

// keysOf are the recipients of a host, oldest first.
func (r *secretRepo) keysOf(host string) (all []string) {
	for _, a := range r.conf.Recipients() {
		if r.owns(host, a) {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return r.keyNumber(a) - r.keyNumber(b) })
	return all
}

// keyNumber is 2 for what is named web01_key2, and 1 without a number.
func (r *secretRepo) keyNumber(recipient string) int {
	for _, n := range r.conf.Names(recipient) {
		if _, number, ok := strings.Cut(strings.ReplaceAll(n, "-", "_"), "_key"); ok {
			if k, err := strconv.Atoi(number); err == nil {
				return k
			}
		}
	}
	return 1
}

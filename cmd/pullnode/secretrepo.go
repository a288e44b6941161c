package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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
	for _, g := range m.Groups {
		for _, a := range g.Age {
			all = append(all, a.Recipient)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
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

// rulesOf are the rules that a host's own files are encrypted by. A rule that other
// hosts' files share is an error unless shared says that this is wanted.
func (r *secretRepo) rulesOf(host string, shared bool) (rules []int, err error) {
	metas, _, err := keysrc.Files(os.DirFS(r.top), host, nil)
	if err != nil {
		return nil, err
	}
	names := []string{secretsOf(host)}
	for _, m := range metas {
		names = append(names, m.Name)
	}
	for _, n := range names {
		i, ok := r.conf.Match(n)
		if !ok || slices.Contains(rules, i) {
			continue
		}
		for _, other := range r.host {
			if j, ok := r.conf.Match(secretsOf(other)); ok && j == i && other != host && !shared {
				return nil, hint(fmt.Errorf("%s line %d: the rule for %s is that of %s too, whose secrets %s would open", sopsconf.Name, r.conf.Rules[i].Line, n, secretsOf(other), host),
					"write a rule of its own above it, or say --shared")
			}
		}
		rules = append(rules, i)
	}
	return rules, nil
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
	age := func(recipient string) int {
		for _, n := range r.conf.Names(recipient) {
			if _, number, ok := strings.Cut(strings.ReplaceAll(n, "-", "_"), "_key"); ok {
				k := 0
				fmt.Sscan(number, &k)
				return k
			}
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b string) int { return age(a) - age(b) })
	return all
}

// sops runs the sops CLI on one file of the clone. The key that opens the file is
// whatever sops finds in its environment.
func (r *secretRepo) sops(name string, args ...string) error {
	program, err := exec.LookPath("sops")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(r.ctx, program, append(args, filepath.Join(r.top, name))...)
	cmd.Dir, cmd.Stdin = r.top, os.Stdin
	if said, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		return hint(fmt.Errorf("sops %s %s: %w\n%s", args[0], name, err, safe(strings.Join(lines[max(0, len(lines)-6):], " / "))),
			"sops needs a key that opens it, such as SOPS_AGE_KEY_FILE=…; then run the same command again, it goes on where it was")
	}
	return nil
}

// needSops says what to do by hand when sops is missing; nothing has been done.
func needSops(commands ...string) error {
	if _, err := exec.LookPath("sops"); err == nil || len(commands) == 0 {
		return nil
	}
	return hint(errors.New("sops is missing, and nothing was changed"), append([]string{"nix shell nixpkgs#sops; by hand, after the change of .sops.yaml:"}, commands...)...)
}

// update brings files to their rules.
func (r *secretRepo) update(files []string) error {
	for _, name := range files {
		if err := r.sops(name, "updatekeys", "-y"); err != nil {
			return err
		}
		fmt.Fprintf(r.out, "updated  %s\n", name)
	}
	return nil
}

func updateCommands(files []string) (all []string) {
	for _, f := range files {
		all = append(all, "sops updatekeys -y "+f)
	}
	return all
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pullnode/internal/sopsconf"
	"pullnode/keysrc"
)

// drop takes recipients out of every file, each with a new data key, and then out of
// .sops.yaml: until the last file is done, the next call finds the same work.
func (r *secretRepo) drop(recipients []string) error {
	for _, a := range recipients {
		if err := r.take(r.conf.Remove(a)); err != nil {
			if errors.Is(err, sopsconf.ErrEmpty) {
				err = hint(err, "name who else opens it first, at least an operator and the recovery key")
			}
			return err
		}
	}
	files, err := r.files()
	if err != nil {
		return err
	}
	var commands []string
	for _, m := range files {
		if c := rotateArgs(m, recipients); c != nil {
			commands = append(commands, "sops "+strings.Join(c, " ")+" "+m.Name)
			if slices.ContainsFunc(m.Groups, func(g keysrc.Group) bool { return emptied(g, recipients) }) {
				return fmt.Errorf("%s would be left without a recipient: nothing was changed", m.Name)
			}
		}
	}
	if err := needSops(commands...); err != nil {
		return err
	}
	for _, m := range files {
		if c := rotateArgs(m, recipients); c != nil {
			if err := r.sops(m.Name, c...); err != nil {
				return err
			}
			fmt.Fprintf(r.out, "rotated  %s\n", m.Name)
		}
	}
	return r.write()
}

// rotateArgs is nil for a file that has none of the recipients. That it goes and that
// the data key is new is one change of the file.
func rotateArgs(m keysrc.Meta, recipients []string) []string {
	var gone []string
	for _, a := range recipientsOf(m) {
		if slices.Contains(recipients, a) {
			gone = append(gone, a)
		}
	}
	if gone == nil {
		return nil
	}
	return []string{"rotate", "-i", "--rm-age", strings.Join(gone, ",")}
}

func emptied(g keysrc.Group, recipients []string) bool {
	return len(g.Age) > 0 && len(g.Others) == 0 && !slices.ContainsFunc(g.Age, func(a keysrc.AgeEntry) bool { return !slices.Contains(recipients, a.Recipient) })
}

// readable is a file that somebody could read.
type readable struct {
	File  string   `json:"file"`
	Names []string `json:"names"`
	Past  bool     `json:"past,omitempty"` // only in older commits
}

// readableBy lists what these recipients open: in the work tree, in the newest commit,
// which has what a call before this one has changed, and in older ones.
func (r *secretRepo) readableBy(recipients []string) (all []readable, err error) {
	seen := map[string]bool{}
	look := func(name string, raw []byte, past bool) {
		m, err := keysrc.ReadMeta(name, raw)
		if err != nil || seen[name] || rotateArgs(m, recipients) == nil {
			return
		}
		seen[name] = true
		all = append(all, readable{name, sopsconf.SecretNames(raw), past})
	}
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	for _, m := range files {
		raw, err := os.ReadFile(filepath.Join(r.top, m.Name))
		if err != nil {
			return nil, err
		}
		look(m.Name, raw, false)
		if raw, err := gitRaw(r.ctx, r.top, nil, "", "cat-file", "blob", "HEAD:"+m.Name); err == nil {
			look(m.Name, raw, false)
		}
	}
	for _, a := range recipients {
		// Commits that brought it into a file or took it out.
		list, err := gitRaw(r.ctx, r.top, nil, "", "log", "--all", "-z", "--format=%x01%H", "--name-only", "-S"+a)
		if err != nil {
			continue // no commit yet
		}
		for commit := range bytes.SplitSeq(list, []byte{1}) {
			id, names, _ := strings.Cut(string(commit), "\x00")
			for name := range strings.SplitSeq(names, "\x00") {
				if name = strings.TrimPrefix(name, "\n"); name == "" || seen[name] {
					continue
				}
				for _, at := range []string{id, id + "^"} {
					if raw, err := gitRaw(r.ctx, r.top, nil, "", "cat-file", "blob", at+":"+name); err == nil {
						look(name, raw, true)
					}
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b readable) int { return strings.Compare(a.File, b.File) })
	return all, nil
}

// left says where the recipients still are after drop.
func (r *secretRepo) left(recipients []string) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	for _, m := range files {
		if rotateArgs(m, recipients) != nil {
			return fmt.Errorf("%s still has the old recipient", m.Name)
		}
	}
	list, err := gitRaw(r.ctx, r.top, nil, "", "ls-files", "-z")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(string(list), "\x00") {
		raw, err := os.ReadFile(filepath.Join(r.top, name))
		if name == "" || err != nil {
			continue
		}
		for _, a := range recipients {
			if at := bytes.Index(raw, []byte(a)); at >= 0 {
				fmt.Fprintf(r.out, "left     %s:%d names it: change it\n", safe(name), 1+bytes.Count(raw[:at], []byte("\n")))
			}
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pullnode/activate"
	"pullnode/internal/agent"
	"pullnode/keysrc"
)

// leaks refuses a secret that the commit would put into the store: a private key or a
// decrypted value of the host's SOPS files, in the commit's own tree, in what it
// builds, or in the derivations.
func (g secretGuard) leaks(ctx context.Context, cand activate.Candidate, b builtSecrets) error {
	err := g.scan(ctx, cand, b)
	var leak *keysrc.LeakError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &leak):
		return fmt.Errorf("whether secrets leak into the store %w: %w", agent.ErrLater, err)
	case g.config.Keys.LeakGuard == "warn":
		g.log.Warn("a secret leaks", "why", leak.Error())
		return nil
	}
	return err
}

func (g secretGuard) scan(ctx context.Context, cand activate.Candidate, b builtSecrets) error {
	values, err := keysrc.ReadValues(ctx, g.keys, b.tree.FS(), b.files)
	if err != nil {
		return err
	}
	defer values.Wipe()
	// In the commit nothing is an example, but for the key that this program comes with.
	leaks, err := scanFor(ctx, commitLook(values), []string{string(cand.Source)})
	if err != nil {
		return err
	}
	built, err := g.scanBuilt(ctx, cand, b.paths, keysrc.Look{Only: append(keysrc.Recipients(b.files), g.config.Keys.Recipient), Values: values})
	if err != nil {
		return err
	}
	if leaks = append(leaks, built...); len(leaks) > 0 {
		return &keysrc.LeakError{Leaks: leaks}
	}
	return nil
}

func commitLook(values keysrc.Values) keysrc.Look {
	return keysrc.Look{SSH: true, Public: []string{exampleHostKey}, Values: values}
}

// scanBuilt reads what no scan for the same things has read. What the running
// system has too has leaked already: refusing would not help, and could keep the
// mend away.
func (g secretGuard) scanBuilt(ctx context.Context, cand activate.Candidate, out []string, look keysrc.Look) ([]keysrc.Leak, error) {
	paths, old, err := g.paths(ctx, cand, out)
	if err != nil {
		return nil, err
	}
	record, err := keysrc.OpenScanLog(g.record)
	if err != nil {
		return nil, err
	}
	changed := record.For(look)
	if short := names(look.Values, keysrc.Value.Short); changed && len(short) > 0 {
		g.log.Warn("values that are too short are not looked for in the store", "bytes", keysrc.MinValue, "values", strings.Join(short, ", "))
	}
	leaks, err := scanFor(ctx, look, record.New(paths))
	if err != nil {
		return nil, err
	}
	clean := slices.DeleteFunc(paths, func(p string) bool { return leaksIn(leaks, p) })
	if err := record.Save(clean); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(leaks, func(l keysrc.Leak) bool {
		known := slices.ContainsFunc(old, func(p string) bool { return leaksIn([]keysrc.Leak{l}, p) })
		if known {
			g.log.Warn("a secret is in the store: change it, everybody who could read the store may have it", "where", l.String())
		}
		return known
	}), nil
}

// paths gives what the candidate, whose system consists of out, and its derivations
// consist of without the commit's own tree, and what the running system consists of.
func (g secretGuard) paths(ctx context.Context, cand activate.Candidate, out []string) (all, old []string, err error) {
	facts, err := g.sys.Facts(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = slices.Clone(out)
	if cand.Drv != "" {
		part, err := g.store.Requisites(ctx, cand.Drv)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, texts(part)...)
	}
	all = slices.DeleteFunc(all, func(p string) bool { return p == string(cand.Source) })
	slices.Sort(all)
	if facts.Running != "" {
		// A running system that the store does not know makes all paths new.
		part, _ := g.store.Requisites(ctx, facts.Running)
		old = texts(part)
	}
	return slices.Compact(all), old, nil
}

func scanFor(ctx context.Context, look keysrc.Look, paths []string) ([]keysrc.Leak, error) {
	s := keysrc.NewScanner(look)
	defer s.Wipe()
	return s.Trees(ctx, paths)
}

func leaksIn(leaks []keysrc.Leak, storePath string) bool {
	return slices.ContainsFunc(leaks, func(l keysrc.Leak) bool {
		return l.Path == storePath || strings.HasPrefix(l.Path, storePath+"/")
	})
}

func names(values keysrc.Values, which func(keysrc.Value) bool) (out []string) {
	for _, v := range values {
		if which(v) {
			out = append(out, v.String())
		}
	}
	return out
}

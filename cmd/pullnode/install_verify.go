package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"pullnode/internal/agent"
	"pullnode/internal/install"
	"pullnode/internal/state"
	"pullnode/keysrc"
	"pullnode/sync"
)

// authenticate gets the branch, judges it from the introduction alone, and
// exports the tip: as a node does that knows nothing yet.
func (i *installer) authenticate(ctx context.Context) error {
	dir, err := os.MkdirTemp(i.work, "tip-")
	if err != nil {
		return err
	}
	if i.conf == nil {
		return i.fromClone(ctx, filepath.Join(dir, "source"))
	}
	intro, err := sync.ParseIntroduction(i.conf.Introduction)
	if err != nil {
		return err
	}
	dirs := agent.Dirs{Answer: filepath.Join(dir, "sync", "answer"), Report: filepath.Join(dir, "sync", "report")}
	if err := os.Mkdir(filepath.Join(dir, "sync"), 0o700); err != nil {
		return err
	}
	fetcher, _, err := inProcess(i.conf, dir, dirs, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	want := sync.Want{Format: sync.StreamFormat, Request: 1, Branch: i.conf.Branch, Trusted: string(intro.Commit), Ancestry: true}
	for _, r := range i.conf.Remotes {
		want.Remotes = append(want.Remotes, sync.WantRemote{Name: r.Name, URL: r.URL})
	}
	i.Say("fetching %s of %s", i.conf.Branch, safe(i.conf.Remotes[0].URL))
	rep, err := fetcher.Ask(ctx, want)
	if err != nil {
		return err
	}
	if rep.Class != sync.Moved {
		return fmt.Errorf("fetching: %s", safe(rep.Text))
	}
	in, err := os.Open(dirs.Answer)
	if err != nil {
		return err
	}
	defer in.Close()
	spool, err := os.Create(filepath.Join(dir, "copy"))
	if err != nil {
		return err
	}
	defer spool.Close()
	stream, err := sync.StreamReader{Want: want, Spool: spool}.Read(in)
	if v, refused := sync.StreamVerdict(err); refused {
		return fmt.Errorf("the repository is not what its operators signed: %s: %s; no disk was touched", v.Name, safe(v.Reason))
	}
	if err != nil {
		return err
	}
	policy := sync.Policy{Introduction: intro, Revoked: i.conf.RevokedKeys, Host: i.Host}
	if i.conf.RecoveryKey != "" {
		if policy.Recovery, err = sync.KeyFingerprint(i.conf.RecoveryKey); err != nil {
			return err
		}
	}
	verified, verdict := policy.Judge(stream)
	if verdict.Refused() {
		return mayNot(verdict)
	}
	return i.accept(verified, filepath.Join(dir, "source"), sync.Limits{Files: i.conf.Fetch.MaxFiles})
}

// accept exports what was verified: it alone is installed.
func (i *installer) accept(v sync.Verified, tree string, lim sync.Limits) error {
	i.verified, i.Tree = v, tree
	if err := v.Export(tree, lim); err != nil {
		return err
	}
	i.Say("verified %s, signed by %s", v.Commit().ID.Short(), safe(v.Signer()))
	return nil
}

// mayNot says why a commit is not installed.
func mayNot(v sync.Verdict) error {
	return hint(fmt.Errorf("%s may not be installed: %s: %s; no disk was touched", v.Commit.Short(), v.Name, safe(v.Reason)), safe(v.Hint))
}

// secretsOpen proves that the new machine will open its secrets, with the sources
// of its own settings. Files are those of the new root, so they are looked for in
// staging.
func (i *installer) secretsOpen(ctx context.Context, f install.Facts) error {
	if len(f.Keys.Sources) == 0 {
		i.Say("! %s has no keys.sources: whether its secrets open is not known", i.Host)
		return nil
	}
	s := keysrc.Settings{Recipient: f.Keys.Recipient}
	for _, source := range f.Keys.Sources {
		path, _ := source["path"].(string)
		if source["type"] == "ssh-host-key" && path == "" {
			path = "/" + newHostKey
		}
		carried := source["type"] == "ssh-host-key" || source["type"] == "file"
		if i.remote != nil && !carried {
			continue // sticks and chips are there, not here
		}
		if path != "" && carried {
			source["path"] = filepath.Join(i.staging, path)
		}
		raw, err := json.Marshal(source)
		if err != nil {
			return err
		}
		s.Sources = append(s.Sources, raw)
	}
	if len(s.Sources) == 0 {
		i.Say("! the key of %s comes from its own hardware: whether its secrets open is not known from here", i.Host)
		return nil
	}
	chain, err := s.Open()
	if err != nil {
		return fmt.Errorf("keys.%w", err)
	}
	metas, bad, err := keysrc.Files(os.DirFS(filepath.Join(i.Tree, i.Dir)), i.Host, f.Keys.Files)
	if err != nil {
		return err
	}
	err = keysrc.Prove(ctx, chain, metas, bad)
	if errors.Is(err, keysrc.ErrAbsent) {
		return hint(fmt.Errorf("%w; no disk was touched", err), "plug the medium in, or put the file where the new root has it: --extra-files DIR")
	}
	return err
}

// carryTrust gives the new machine the commit that it was installed from, so that
// it never accepts an older one.
func (i *installer) carryTrust(root string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("the trust floor: %w", err)
		}
	}()
	for _, path := range []string{stateDir, floorPath} {
		if err := makeDirs(root, filepath.Dir(path)); err != nil {
			return err
		}
	}
	s, err := state.Open(state.Config{Dir: filepath.Join(root, stateDir), FloorPath: filepath.Join(root, floorPath)})
	if err != nil {
		return err
	}
	defer s.Close()
	t := i.verified.Trusted()
	return s.Update(func(st *state.State) error {
		st.Trusted = state.Trusted{Commit: string(t.Commit), Digest: string(t.Digest), Policy: t.Policy, Signer: i.verified.Signer()}
		for _, p := range t.Parents {
			st.Trusted.Parents = append(st.Trusted.Parents, string(p))
		}
		return nil
	})
}

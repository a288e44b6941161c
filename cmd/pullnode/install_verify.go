package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/agent"
	"pullnode/internal/install"
	"pullnode/keysrc"
	"pullnode/sync"
)

// newHostKey is where the host's SSH key is on the new root.
const newHostKey = "etc/ssh/ssh_host_ed25519_key"

// stage gathers what the new root gets beside the system.
func (i *installer) stage() error {
	i.staging = filepath.Join(i.work, "root")
	if i.extra != "" {
		if err := os.CopyFS(i.staging, os.DirFS(i.extra)); err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
		// CopyFS gives every file all rights of its own user's; keep the modes.
		err := filepath.WalkDir(i.extra, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(i.extra, path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			return os.Chmod(filepath.Join(i.staging, rel), info.Mode().Perm())
		})
		if err != nil {
			return fmt.Errorf("--extra-files: %w", err)
		}
	}
	key := filepath.Join(i.staging, newHostKey)
	if err := os.MkdirAll(filepath.Dir(key), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(key); err == nil {
		return nil
	}
	raw, err := os.ReadFile(i.hostKey)
	if i.hostKey == "" {
		i.generated = true
		raw, err = makeHostKey(i.Host)
	}
	if err != nil {
		return err
	}
	parsed, err := ssh.ParseRawPrivateKey(raw)
	if err != nil {
		return fmt.Errorf("--host-key %s: not an OpenSSH private key without a passphrase", i.hostKey)
	}
	signer, err := ssh.NewSignerFromKey(parsed)
	if err != nil {
		return err
	}
	if err := os.WriteFile(key, raw, 0o600); err != nil {
		return err
	}
	return os.WriteFile(key+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644)
}

func makeHostKey(host string) ([]byte, error) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, host)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// authenticate fetches the branch, judges it from the introduction alone, and
// exports the tip: as a node does that knows nothing yet.
func (i *installer) authenticate(ctx context.Context) error {
	dir, err := os.MkdirTemp(i.work, "tip-")
	if err != nil {
		return err
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
	policy := sync.Policy{Introduction: intro, Revoked: i.conf.RevokedKeys}
	verified, verdict := policy.Judge(stream)
	if verdict.Refused() {
		return hint(fmt.Errorf("%s may not be installed: %s: %s; no disk was touched", verdict.Commit.Short(), verdict.Name, safe(verdict.Reason)), safe(verdict.Hint))
	}
	i.verified, i.Tree = verified, filepath.Join(dir, "source")
	if err := verified.Export(i.Tree, sync.Limits{Files: i.conf.Fetch.MaxFiles}); err != nil {
		return err
	}
	i.Say("verified %s, signed by %s", verdict.Tip.Short(), safe(verified.Signer()))
	return nil
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
		if path != "" && (source["type"] == "ssh-host-key" || source["type"] == "file") {
			source["path"] = filepath.Join(i.staging, path)
		}
		raw, err := json.Marshal(source)
		if err != nil {
			return err
		}
		s.Sources = append(s.Sources, raw)
	}
	chain, err := s.Open()
	if err != nil {
		return fmt.Errorf("keys.%w", err)
	}
	err = keysrc.Prove(ctx, chain, os.DirFS(filepath.Join(i.Tree, i.Dir)), i.Host, f.Keys.Files)
	if errors.Is(err, keysrc.ErrAbsent) {
		return hint(fmt.Errorf("%w; no disk was touched", err), "plug the medium in, or put the file where the new root has it: --extra-files DIR")
	}
	return err
}

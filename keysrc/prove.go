package keysrc

import (
	"context"
	"slices"
)

// Prover says which SOPS files the host's key opens, and gives the public halves
// of that key: a Client of the process that holds the key, or a Chain. Its
// error means that nobody could say, not that a file does not open.
type Prover interface {
	Preflight(ctx context.Context, files []Meta) (results []Result, recipients []string, err error)
}

// Preflight gets the key, tries the files and wipes the key. It is for running
// without a keys process.
func (c Chain) Preflight(ctx context.Context, files []Meta) ([]Result, []string, error) {
	k, err := c.Fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer k.Wipe()
	return Preflight(k.Identities(), files), k.Recipients(), nil
}

// Recipients gives the public halves that these files are encrypted for.
func Recipients(files []Meta) (all []string) {
	for _, m := range files {
		for _, g := range m.Groups {
			for _, e := range g.Age {
				if !slices.Contains(all, e.Recipient) {
					all = append(all, e.Recipient)
				}
			}
		}
	}
	return all
}

// Prove asks p about a host's SOPS files, and about those that cannot be read as one,
// as Files and ManifestFiles give them. A *PreflightError names those that do not
// open; any other error says nothing about the files. Without files no key is needed.
func Prove(ctx context.Context, p Prover, metas []Meta, bad []Result) error {
	if len(metas)+len(bad) == 0 {
		return nil
	}
	results, recipients, err := p.Preflight(ctx, metas)
	if err != nil {
		return err
	}
	return Judge(recipients, append(bad, results...))
}

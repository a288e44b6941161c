package keysrc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// manifestNames end the store paths of sops-nix's manifests, which say what is
// installed on a host (modules/sops/manifest-for.nix).
var manifestNames = []string{"-manifest.json", "-manifest-for-users.json"}

// ManifestFiles gives the SOPS files that the manifests of sops-nix name, among the
// store paths that a built system consists of, and a Result for each that cannot be
// read as one. Their names are their paths. Files of the tree that are known already,
// which a system has copies of, are left out, and so is what is not in the store: such
// a file is not the commit's. The error is one of reading the store.
func ManifestFiles(storePaths []string, known []Meta) (metas []Meta, bad []Result, err error) {
	var files []string
	for _, p := range storePaths {
		if !slices.ContainsFunc(manifestNames, func(n string) bool { return strings.HasSuffix(p, n) }) {
			continue
		}
		named, err := readManifest(p)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, named...)
	}
	slices.Sort(files)
	for _, f := range slices.Compact(files) {
		if !slices.ContainsFunc(storePaths, func(p string) bool { return f == p || strings.HasPrefix(f, p+"/") }) {
			continue
		}
		content, err := readStore(f)
		if err != nil {
			return nil, nil, err
		}
		m, err := ReadMeta(f, content)
		switch {
		case errors.Is(err, ErrNotSOPS):
			bad = append(bad, Result{Name: f, State: NotSOPS})
		case err != nil:
			bad = append(bad, Result{Name: f, State: Malformed, Detail: err.Error()})
		case !slices.ContainsFunc(known, m.same):
			metas = append(metas, m)
		}
	}
	return metas, bad, nil
}

// same says whether two are copies of one file: an encrypted data key is like no
// other.
func (m Meta) same(o Meta) bool {
	return m.Threshold == o.Threshold && slices.EqualFunc(m.Groups, o.Groups, func(a, b Group) bool {
		return slices.Equal(a.Age, b.Age) && slices.Equal(a.Others, b.Others)
	})
}

// readManifest gives the files that the manifest at path names; none when it is
// another program's.
func readManifest(path string) (files []string, err error) {
	raw, err := readStore(path)
	if err != nil {
		return nil, err
	}
	var m struct {
		SecretsMountPoint string
		Secrets           []struct{ SopsFile string }
	}
	if json.Unmarshal(raw, &m) != nil || m.SecretsMountPoint == "" {
		return nil, nil
	}
	for _, s := range m.Secrets {
		files = append(files, filepath.Clean(s.SopsFile))
	}
	return files, nil
}

func readStore(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := readLimited(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

package keysrc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const maxFiles = 10_000

// Files gives the SOPS files of a host in an exported tree, and a Result for
// each file that is named as one and cannot be read as one. These are:
//
//   - every SOPS file below hosts/<host>/
//   - every SOPS file secrets/<host>* and below secrets/<host>*/, where the name
//     goes on with nothing, ".", "-", "_" or "@" and no longer name of a folder
//     under hosts/ fits: secrets/web-db.yaml is web-db's and not web's when
//     both are hosts, and secrets/web10.yaml is never web1's
//   - every path in also, which must be a SOPS file
//
// Other files that the host's configuration may use, such as secrets shared by
// all hosts, are not found: they are to be listed in also. A file is a SOPS
// file by its content (ReadMeta); *.nix and *.md are not looked at, as text
// about SOPS is no secret. Symbolic links are not followed by the walk; make
// tree with os.Root's FS so that a link in also cannot leave it. The error is
// one of reading the tree.
func Files(tree fs.FS, host string, also []string) ([]Meta, []Result, error) {
	if host == "" || host == "." || host == ".." || strings.ContainsAny(host, "/\\") {
		return nil, nil, fmt.Errorf("%q is not a host name", host)
	}
	names, err := hostFiles(tree, host)
	if err != nil {
		return nil, nil, err
	}
	named := map[string]bool{}
	for _, n := range also {
		clean := path.Clean(n)
		if !fs.ValidPath(clean) {
			return nil, nil, fmt.Errorf("%q is not a path inside the tree", n)
		}
		named[clean] = true
		names = append(names, clean)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxFiles {
		return nil, nil, fmt.Errorf("there are over %d files for host %q", maxFiles, host)
	}
	var metas []Meta
	var bad []Result
	for _, name := range names {
		content, err := readTree(tree, name)
		if errors.Is(err, fs.ErrNotExist) && named[name] {
			bad = append(bad, Result{Name: name, State: NotSOPS, Detail: "there is no such file"})
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		m, err := ReadMeta(name, content)
		switch {
		case err == nil:
			metas = append(metas, m)
		case !errors.Is(err, ErrNotSOPS):
			bad = append(bad, Result{Name: name, State: Malformed, Detail: err.Error()})
		case named[name]:
			bad = append(bad, Result{Name: name, State: NotSOPS})
		}
	}
	return metas, bad, nil
}

// hostFiles gives the regular files that are the host's by their place.
func hostFiles(tree fs.FS, host string) (names []string, err error) {
	hosts, err := folders(tree, "hosts")
	if err != nil {
		return nil, err
	}
	roots := []string{path.Join("hosts", host)}
	entries, err := fs.ReadDir(tree, "secrets")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if owner(e.Name(), append(hosts, host)) == host {
			roots = append(roots, path.Join("secrets", e.Name()))
		}
	}
	for _, root := range roots {
		err := fs.WalkDir(tree, root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				if name == root && errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if ext := path.Ext(name); d.Type().IsRegular() && ext != ".nix" && ext != ".md" {
				names = append(names, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

func folders(tree fs.FS, dir string) (names []string, err error) {
	entries, err := fs.ReadDir(tree, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// owner gives the longest of the hosts that name begins with, or "".
func owner(name string, hosts []string) (best string) {
	for _, h := range hosts {
		rest, ok := strings.CutPrefix(name, h)
		if ok && (rest == "" || strings.ContainsRune(".-_@", rune(rest[0]))) && len(h) > len(best) {
			best = h
		}
	}
	return best
}

func readTree(tree fs.FS, name string) ([]byte, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	return readLimited(f)
}

// readLimited reads and closes f: one byte more than the limit, for ReadMeta to
// refuse.
func readLimited(f io.ReadCloser) ([]byte, error) {
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fileLimit+1))
}

package sync

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// Export writes the verified tree into dir, which must be new and empty or not
// exist, and root's alone. Every object is hashed again on its way out. Nothing
// is followed: paths are opened below dir component by component, symbolic
// links come last and may only point inside the tree. Two exports of one tree
// are byte-identical: modes are 0644 and 0755 and nothing else of a file is
// kept by the Nix archive.
//
// An error names the path at fault; dir is then incomplete and must be removed.
func (v Verified) Export(dir string, lim Limits) error {
	if v.commit == nil {
		return errors.New("export: this is no verified commit")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	e := &exporter{s: v.stream, root: root, lim: lim.withDefaults()}
	if err := e.tree(v.commit.Tree, "", 0); err != nil {
		return err
	}
	for _, l := range e.links {
		if err := root.Symlink(l.target, l.at); err != nil {
			return fmt.Errorf("export %s: %w", l.at, err)
		}
	}
	return nil
}

// exporter walks a tree. Without a root it only looks.
type exporter struct {
	s     *Stream
	root  *os.Root
	lim   Limits
	files int
	bytes int64
	links []struct{ at, target string }
}

func (e *exporter) tree(id ID, at string, depth int) error {
	if depth > e.lim.Depth {
		return overLimit("%s: directories are nested deeper than %d", at, e.lim.Depth)
	}
	raw, err := e.checked(id, "tree")
	if err != nil {
		return err
	}
	entries, err := parseTree(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	for _, en := range entries {
		p := path.Join(at, en.name)
		if err := safeName(en.name); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		if e.files++; e.files > e.lim.Files {
			return overLimit("the tree has more than %d files", e.lim.Files)
		}
		if len(p) > 4096 {
			return overLimit("%.80q: the path is longer than 4096 bytes", p)
		}
		if err := e.entry(en, p, depth); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) entry(en entry, p string, depth int) error {
	switch en.mode {
	case modeSubmodul:
		return fmt.Errorf("%s is a submodule: pullnode does not fetch submodules; make it a flake input, which flake.lock pins", p)
	case modeTree:
		if e.root != nil {
			if err := e.root.Mkdir(p, 0o755); err != nil {
				return fmt.Errorf("export %s: %w", p, err)
			}
		}
		return e.tree(en.id, p, depth+1)
	}
	if e.bytes += e.s.index[en.id].size; e.bytes > e.lim.TreeSize {
		return overLimit("the tree has more than %d bytes", e.lim.TreeSize)
	}
	if e.root == nil && en.mode != modeSymlink && e.s.index[en.id].size > maxPointer {
		return nil
	}
	body, err := e.checked(en.id, "blob")
	if err != nil {
		return err
	}
	if en.mode == modeSymlink {
		if err := safeTarget(p, string(body)); err != nil {
			return err
		}
		e.links = append(e.links, struct{ at, target string }{p, string(body)})
		return nil
	}
	if strings.HasPrefix(string(body[:min(len(body), 64)]), "version https://git-lfs.github.com/spec/") {
		return fmt.Errorf("%s is a Git LFS pointer: pullnode does not fetch LFS files; commit the file itself or make it a flake input", p)
	}
	if e.root == nil {
		return nil
	}
	mode := os.FileMode(0o644)
	if en.mode == modeExec {
		mode = 0o755
	}
	return e.write(p, body, mode)
}

func (e *exporter) write(p string, body []byte, mode os.FileMode) error {
	f, err := e.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("export %s: %w", p, err)
	}
	_, werr := f.Write(body)
	// The umask must not decide what the Nix archive looks like.
	if err := errors.Join(werr, f.Chmod(mode), f.Close()); err != nil {
		return fmt.Errorf("export %s: %w", p, err)
	}
	return nil
}

// checked reads an object back and hashes it once more, so that a copy which
// was damaged on disk after it was judged does not run.
func (e *exporter) checked(id ID, kind string) ([]byte, error) {
	body, err := e.s.body(id, kind)
	if err != nil || e.root == nil {
		return body, err
	}
	got, err := hashObject(kind, body)
	if err != nil || got != id {
		return nil, fmt.Errorf("%s %s changed on disk after it was verified", kind, id.Short())
	}
	return body, nil
}

// maxPointer is the most bytes of a Git LFS pointer, by its specification.
const maxPointer = 1024

// exportable says why a commit's tree would not be exported, before anything is
// decided about it: what can never run is not accepted either.
func (s *Stream) exportable(c *Commit) error {
	err := (&exporter{s: s, lim: s.lim}).tree(c.Tree, "", 0)
	var bad *streamError
	if err == nil || errors.As(err, &bad) {
		return err
	}
	return &streamError{Malformed, "the tree of commit " + c.ID.Short() + ": " + err.Error(), c.ID}
}

// safeName refuses names that are, or that some file system takes for, a way
// out of the tree or git's own directory.
func safeName(name string) error {
	switch {
	case name == "." || name == "..":
		return errors.New("this name leads out of the tree")
	case strings.ContainsAny(name, "\\\x00"):
		return errors.New("a name may not contain a backslash or NUL")
	}
	plain := strings.ToLower(strings.Map(func(r rune) rune {
		if r >= 0x200c && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x206a && r <= 0x206f || r == 0xfeff {
			return -1 // HFS+ ignores these
		}
		return r
	}, name))
	plain = strings.TrimRight(plain, ". ")
	if plain == ".git" || strings.HasPrefix(plain, "git~") || strings.HasPrefix(plain, ".git:") {
		return errors.New("this name stands for git's own directory")
	}
	return nil
}

// safeTarget allows relative links that stay inside the tree.
func safeTarget(at, target string) error {
	if target == "" || strings.ContainsRune(target, 0) || path.IsAbs(target) {
		return fmt.Errorf("%s is a symbolic link to %q: only relative links inside the tree are exported", at, target)
	}
	// ".." may only lead: after a name it would be taken from wherever that
	// name, perhaps itself a link, points.
	up, names := 0, false
	for _, part := range strings.Split(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if up++; names || up > strings.Count(at, "/") {
				return fmt.Errorf("%s is a symbolic link to %q, which may lead out of the tree", at, target)
			}
		default:
			names = true
		}
	}
	return nil
}

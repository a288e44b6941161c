package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"pullnode/sync"
)

// repo is a bare repository that holds nothing but packs and the name of a tip
// whose history is complete in them. It is kept between fetches so that only
// what is new is sent, and it is worth nothing: whenever it is in doubt it is
// removed and fetched again.
type repo struct {
	dir   string
	lim   Limits
	store *filesystem.Storage
}

// maxPacks is when many small packs are given up for one new one.
const maxPacks = 40

func openRepo(dir string, lim Limits) (*repo, error) {
	r := &repo{dir: dir, lim: lim}
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return nil, local("make the repository", err)
	}
	// With these two git itself can read it, for whoever wants to look.
	if err := os.MkdirAll(filepath.Join(dir, "refs"), 0o700); err != nil {
		return nil, local("make the repository", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/main\n"), 0o600); err != nil {
		return nil, local("make the repository", err)
	}
	return r, nil
}

func (r *repo) close() {
	if r.store != nil {
		r.store.Close()
		r.store = nil
	}
}

// reset empties the repository.
func (r *repo) reset() error {
	r.close()
	if err := os.RemoveAll(r.dir); err != nil {
		return local("remove the old repository", err)
	}
	n, err := openRepo(r.dir, r.lim)
	if err != nil {
		return err
	}
	*r = *n
	return nil
}

// tip gives the commit that is here with all its history, or "". A repository
// that has grown too large or untidy has none.
func (r *repo) tip() string {
	b, err := readCapped(filepath.Join(r.dir, "tip"), 64)
	id := strings.TrimSpace(string(b))
	if err != nil || !isID(id) {
		return ""
	}
	packs, size := 0, int64(0)
	filepath.WalkDir(filepath.Join(r.dir, "objects", "pack"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				packs, size = packs+1, size+fi.Size()
			}
		}
		return nil
	})
	if packs == 0 || packs > 2*maxPacks || size > 3*r.lim.Pack {
		return ""
	}
	return id
}

func (r *repo) setTip(id string) error {
	return local("note the tip", replace(filepath.Join(r.dir, "tip"), []byte(id+"\n"), 0o600))
}

// add takes a pack: spool writes it to a file, which is linted, then indexed by
// go-git's parser, and only then given a name that readers see.
func (r *repo) add(spool func(io.Writer) error) (err error) {
	r.close()
	path := filepath.Join(r.dir, "incoming.pack")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return local("make room for the pack", err)
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(path)
		}
	}()
	if err := spool(f); err != nil {
		return err
	}
	n, err := lint(f, r.lim)
	if err != nil {
		return err
	}
	if n == 0 {
		return local("remove the empty pack", os.Remove(path))
	}
	index, sum, err := r.index(f)
	if err != nil {
		return err
	}
	name := filepath.Join(r.dir, "objects", "pack", "pack-"+sum)
	if err := os.Rename(path, name+".pack"); err != nil {
		return local("keep the pack", err)
	}
	return local("write the index", replace(name+".idx", index, 0o600))
}

// sizes is the second look at what a pack declares: the types that only
// resolving a delta shows.
type sizes struct{ lim Limits }

func (sizes) OnHeader(uint32) error                                              { return nil }
func (sizes) OnInflatedObjectContent(plumbing.Hash, int64, uint32, []byte) error { return nil }
func (sizes) OnFooter(plumbing.Hash) error                                       { return nil }
func (s sizes) OnInflatedObjectHeader(t plumbing.ObjectType, size, _ int64) error {
	l := linter{lim: s.lim}
	if size > s.lim.Object {
		return fail(sync.OverLimit, "the pack holds an object of %d bytes, more than %d", size, s.lim.Object)
	}
	return l.allow(byte(t), size)
}

func (r *repo) index(f *os.File, watch ...packfile.Observer) (index []byte, sum string, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, "", local("read the pack", err)
	}
	w := &idxfile.Writer{}
	p, err := packfile.NewParser(packfile.NewScanner(f), append(watch, w, sizes{r.lim})...)
	if err != nil {
		return nil, "", badPack(err)
	}
	h, err := p.Parse()
	if err != nil {
		return nil, "", badPack(err)
	}
	idx, err := w.Index()
	if err != nil {
		return nil, "", badPack(err)
	}
	var b bytes.Buffer
	if _, err := idxfile.NewEncoder(&b).Encode(idx); err != nil {
		return nil, "", badPack(err)
	}
	return b.Bytes(), h.String(), nil
}

// errMissing is an object that should be here: the repository is damaged, or
// the server left it out.
var errMissing = errors.New("object is missing")

// object gives an object's type and content.
func (r *repo) object(id string) (kind string, body []byte, err error) {
	if r.store == nil {
		r.store = filesystem.NewStorageWithOptions(osfs.New(r.dir), cache.NewObjectLRU(32*cache.MiByte),
			filesystem.Options{KeepDescriptors: true, ExclusiveAccess: true})
	}
	o, err := r.store.EncodedObject(plumbing.AnyObject, plumbing.NewHash(id))
	if err != nil {
		return "", nil, &Error{Class: sync.BadData, Text: "object " + id + " is missing or damaged", Err: fmt.Errorf("%w: %w", errMissing, err)}
	}
	if o.Size() > r.lim.Object {
		return "", nil, fail(sync.OverLimit, "object %s is %d bytes, more than %d", id, o.Size(), r.lim.Object)
	}
	in, err := o.Reader()
	if err == nil {
		body = make([]byte, o.Size())
		_, err = io.ReadFull(in, body)
		in.Close()
	}
	if err != nil {
		return "", nil, &Error{Class: sync.BadData, Text: "object " + id + " cannot be read", Err: fmt.Errorf("%w: %w", errMissing, err)}
	}
	return o.Type().String(), body, nil
}

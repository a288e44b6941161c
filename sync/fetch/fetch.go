// Package fetch brings one branch of a remote repository to this machine and
// writes it down as the object stream that package sync reads.
//
// Nothing that a server says is believed: every message has a byte cap, every
// exchange a deadline, packs are linted on their declared sizes before a delta
// is resolved, and all of that except the one small question "where is the
// branch now" happens in a child process with resource limits that is killed
// when its time is over. The package judges no signature; it has no authority
// to lose.
//
// It is the only package that imports go-git, and of that only the pack parser
// and the object store.
package fetch

import (
	"context"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// Remote is a place that serves a repository. Every error is an *Error, which
// carries the class that a report names.
type Remote interface {
	// Tip gives the commit id that the branch points to now. It fails with
	// MissingBranch or EmptyRepo when the server answered but has none.
	Tip(ctx context.Context, branch string) (string, error)
	// Pack writes a packfile that holds everything reachable from a.Want
	// except what is reachable from a.Have, complete in itself, never thin and
	// never shallow. A write error of w is returned as it is.
	Pack(ctx context.Context, a Ask, w io.Writer) error
}

// Ask names what a pack is to hold.
type Ask struct {
	Want string   // commit id, as Tip gave it
	Have []string // commits that are here with all their history
}

// Options says how to reach a remote.
type Options struct {
	Name   string // as the settings call it, for messages
	URL    string // https, http, ssh, host:path, file or an absolute path
	Secret Secret
	Limits Limits
}

// Open makes a client for a remote without talking to it. It fails on an
// address that it does not understand and on credentials that do not fit it.
func Open(o Options) (*Client, error) {
	c := &Client{lim: o.Limits.withDefaults(), meter: &meter{}}
	l, err := linkFor(o, c.lim, c.meter)
	if err != nil {
		return nil, err
	}
	c.link = l
	return c, nil
}

func linkFor(o Options, lim Limits, m *meter) (link, error) {
	if filepath.IsAbs(o.URL) {
		return &localLink{path: o.URL, meter: m}, nil
	}
	if host, path, ok := strings.Cut(o.URL, ":"); ok && !strings.Contains(host, "/") && !strings.HasPrefix(path, "//") {
		return newSSHLink(&url.URL{Scheme: "ssh", Host: afterAt(host), User: userOf(host), Path: path}, o.Secret, m)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fail(Internal, "the url of the remote cannot be read") // its text may hold a password
	}
	switch u.Scheme {
	case "https", "http":
		return newHTTPLink(u, o.Secret, lim, m)
	case "ssh", "git+ssh":
		return newSSHLink(u, o.Secret, m)
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return nil, fail(Internal, "file url names another host %q", u.Host)
		}
		return &localLink{path: u.Path, meter: m}, nil
	}
	return nil, fail(Internal, "url scheme %q is not known (https, http, ssh, file or a path)", u.Scheme)
}

func afterAt(host string) string {
	if _, h, ok := strings.Cut(host, "@"); ok {
		return h
	}
	return host
}

func userOf(host string) *url.Userinfo {
	if u, _, ok := strings.Cut(host, "@"); ok {
		return url.User(u)
	}
	return nil
}

// checkBranch refuses names that git itself refuses and that could end a
// protocol line early.
func checkBranch(b string) error {
	bad := b == "" || len(b) > 255 || strings.HasPrefix(b, "-") || strings.HasPrefix(b, "/") || strings.HasSuffix(b, "/") ||
		strings.HasSuffix(b, ".lock") || strings.Contains(b, "..") || strings.Contains(b, "@{") || strings.Contains(b, "//")
	for _, r := range b {
		bad = bad || r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r)
	}
	if bad {
		return fail(Internal, "%.60q is no branch name", b)
	}
	return nil
}

func isID(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}

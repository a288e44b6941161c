package fetch

import (
	"strings"

	"pullnode/sync"
)

// advert is the first message of upload-pack: of protocol v2 the capabilities,
// of v0 and v1 also where the branch is.
type advert struct {
	version string // "v2", "v1", "v0"
	caps    map[string]string
	tip     string // v0, v1: of the branch, "" when it is not there
	heads   int    // v0, v1: branches
}

func (a *advert) has(c string) bool { _, ok := a.caps[c]; return ok }

// readAdvert reads up to the flush packet. Of a v0 listing it keeps only what
// concerns the branch: a server with a million refs costs no memory.
//
// Formats: git's Documentation/gitprotocol-pack, gitprotocol-v2, gitprotocol-http.
func readAdvert(p *pktReader, branch string) (*advert, error) {
	a := &advert{version: "v0", caps: map[string]string{}}
	announced := false
	for first := true; ; {
		kind, b, err := p.next()
		if err != nil {
			return nil, err
		}
		if kind == pktFlush {
			if announced {
				announced = false
				continue
			}
			break // at once when an old server has no refs
		}
		line := strings.TrimSuffix(string(b), "\n")
		switch {
		case kind == pktOther:
			return nil, fail(sync.BadData, "%s: a separator where a ref belongs", p.what)
		case first && strings.HasPrefix(line, "# service="):
			announced = true // a line of HTTP, ended by a flush of its own
		case first && line == "version 2":
			a.version, first = "v2", false
		case first && line == "version 1":
			a.version = "v1"
		case a.version == "v2":
			name, value, _ := strings.Cut(line, "=")
			a.caps[name] = value
		case strings.HasPrefix(line, "shallow "):
			return nil, fail(sync.BadData, "the remote repository is shallow: it lacks history")
		default:
			if err := a.ref(line, branch, first); err != nil {
				return nil, err
			}
			first = false
		}
		if len(a.caps) > 200 {
			return nil, fail(sync.OverLimit, "%s: more than 200 capabilities", p.what)
		}
	}
	if f, ok := a.caps["object-format"]; ok && f != "sha1" {
		return nil, fail(sync.BadData, "the repository uses %.20s object ids; only sha1 is read", f)
	}
	if a.version == "v2" && (!a.has("ls-refs") || !a.has("fetch")) {
		return nil, fail(sync.BadData, "the server speaks protocol v2 without ls-refs and fetch")
	}
	return a, nil
}

func (a *advert) ref(line, branch string, first bool) error {
	name, caps, _ := strings.Cut(line, "\x00")
	id, name, ok := strings.Cut(name, " ")
	if !ok || !isID(id) {
		return fail(sync.BadData, "a ref line is malformed: this is no git server")
	}
	if first {
		for _, c := range strings.Fields(caps) {
			k, v, _ := strings.Cut(c, "=")
			a.caps[k] = v
		}
	}
	if b, ok := strings.CutPrefix(name, "refs/heads/"); ok {
		a.heads++
		if b == branch {
			a.tip = id
		}
	}
	return nil
}

// lsRefs is the v2 request for all refs below a prefix.
func (a *advert) lsRefs(prefix string) []byte {
	return []byte(a.command("ls-refs") + delimPkt + pkt("ref-prefix "+prefix+"\n") + flushPkt)
}

func (a *advert) command(name string) string {
	s := pkt("command=" + name + "\n")
	if a.has("object-format") {
		s += pkt("object-format=sha1\n")
	}
	return s
}

// readRefs finds one ref in the answer to ls-refs; any is true when there was
// one of any name.
func readRefs(p *pktReader, ref string) (id string, any bool, err error) {
	for {
		kind, b, err := p.next()
		if err != nil {
			return "", false, err
		}
		if kind == pktFlush {
			return id, any, nil
		}
		f := strings.Fields(string(b))
		if kind != pktData || len(f) < 2 || !isID(f[0]) {
			return "", false, fail(sync.BadData, "%s: a ref line is malformed", p.what)
		}
		any = true
		if f[1] == ref {
			id = f[0]
		}
	}
}

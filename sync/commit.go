package sync

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Caps of the commit grammar, and of a tree.
const (
	maxCommit  = 64 << 10
	maxTree    = 4 << 20
	maxParents = 16
)

// Commit is one commit, parsed from its raw bytes by a grammar that has one
// reading only. Its fields come from the bytes that the signature covers.
type Commit struct {
	ID        ID
	Tree      ID
	Parents   []ID
	Author    string // "Name <email>"
	Committer string
	Message   string
	Digest    Digest // of the signed payload

	payload   []byte // the commit without its gpgsig header
	signature string // the armored signature, "" when there is none
}

// Subject gives the first line of the message.
func (c *Commit) Subject() string {
	line, _, _ := strings.Cut(c.Message, "\n")
	return strings.TrimSpace(line)
}

// Signed says whether the commit carries a signature. It says nothing of
// whether the signature is good.
func (c *Commit) Signed() bool { return c.signature != "" }

var (
	person     = regexp.MustCompile(`^([^<>\n]* ?<[^<>\n]*>) [0-9]{1,12} [+-][0-9]{4}$`)
	headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9:-]*$`)
)

// ParseCommit reads a commit object. The grammar is stricter than git's: tree,
// parents, author and committer in this order and once each, one gpgsig header
// at most and as the last one, no NUL, no other header that git would read as
// structure. Anything else is an error, because another reader might see
// another commit in the same bytes.
//
// Format: git's Documentation/gitformat-signature and commit.c.
func ParseCommit(raw []byte) (*Commit, error) {
	if len(raw) > maxCommit {
		return nil, fmt.Errorf("commit is %d bytes, at most %d are read", len(raw), maxCommit)
	}
	if bytes.IndexByte(raw, 0) >= 0 {
		return nil, errors.New("commit contains a NUL byte")
	}
	id, err := hashObject("commit", raw)
	if err != nil {
		return nil, err
	}
	head, message, ok := strings.Cut(string(raw), "\n\n")
	if !ok {
		// git writes an empty message as headers, one empty line, nothing.
		return nil, errors.New("commit has no empty line after its headers")
	}
	c := &Commit{ID: id, Message: message}
	p := headerParser{lines: strings.Split(head, "\n")}
	if err := p.fixed(c); err != nil {
		return nil, err
	}
	if err := p.rest(c); err != nil {
		return nil, err
	}
	c.payload = []byte(strings.Join(p.kept, "\n") + "\n\n" + message)
	c.Digest = digestOf(c.payload)
	return c, nil
}

// headerParser walks the header lines; kept are the ones that are signed.
type headerParser struct {
	lines []string
	kept  []string
}

func (p *headerParser) take(name string) (string, bool) {
	if len(p.lines) == 0 {
		return "", false
	}
	v, ok := strings.CutPrefix(p.lines[0], name+" ")
	if ok {
		p.kept, p.lines = append(p.kept, p.lines[0]), p.lines[1:]
	}
	return v, ok
}

func (p *headerParser) fixed(c *Commit) error {
	v, ok := p.take("tree")
	if !ok || !isID(v) {
		return errors.New("commit does not begin with a tree header")
	}
	c.Tree = ID(v)
	for {
		v, ok := p.take("parent")
		if !ok {
			break
		}
		if !isID(v) {
			return errors.New("commit has a malformed parent header")
		}
		for _, seen := range c.Parents {
			if seen == ID(v) {
				return fmt.Errorf("commit names the parent %s twice", ID(v).Short())
			}
		}
		c.Parents = append(c.Parents, ID(v))
	}
	if len(c.Parents) > maxParents {
		return fmt.Errorf("commit has %d parents, at most %d are read", len(c.Parents), maxParents)
	}
	var err error
	if c.Author, err = p.person("author"); err != nil {
		return err
	}
	c.Committer, err = p.person("committer")
	return err
}

func (p *headerParser) person(name string) (string, error) {
	v, ok := p.take(name)
	if !ok {
		return "", fmt.Errorf("commit has no %s header where it belongs", name)
	}
	m := person.FindStringSubmatch(v)
	if m == nil {
		return "", fmt.Errorf("commit has a malformed %s header", name)
	}
	return m[1], nil
}

// rest reads the headers after committer. Unknown ones are allowed as long as
// git gives them no meaning of its own (mergetag, jj's change-id): they are
// signed like everything else.
func (p *headerParser) rest(c *Commit) error {
	seen := map[string]bool{}
	for len(p.lines) > 0 {
		name, value, ok := strings.Cut(p.lines[0], " ")
		if !ok || !headerName.MatchString(name) {
			return fmt.Errorf("commit has a malformed header line %.40q", p.lines[0])
		}
		n := 1
		for n < len(p.lines) && strings.HasPrefix(p.lines[n], " ") {
			n++
		}
		block := p.lines[:n]
		p.lines = p.lines[n:]
		switch low := strings.ToLower(name); {
		case low == "tree" || low == "parent" || low == "author" || low == "committer":
			return fmt.Errorf("commit has a second or misplaced %s header", low)
		case name == "gpgsig":
			if len(p.lines) > 0 {
				return errors.New("commit has headers after its signature")
			}
			c.signature = unfold(value, block[1:])
			continue
		case strings.HasPrefix(low, "gpgsig"):
			return fmt.Errorf("commit has a %.40q header; only one gpgsig is read", name)
		case name != "mergetag" && seen[name]:
			return fmt.Errorf("commit has two %.40q headers", name)
		case name == "encoding" && n > 1:
			return errors.New("commit has a malformed encoding header")
		}
		seen[name] = true
		p.kept = append(p.kept, block...)
	}
	return nil
}

// unfold gives the value of a header with continuation lines, each ended by a
// line feed.
func unfold(first string, more []string) string {
	var b strings.Builder
	b.WriteString(first + "\n")
	for _, l := range more {
		b.WriteString(l[1:] + "\n")
	}
	return b.String()
}

// byForge says whether a forge seems to have made the commit itself, for hints
// only: anybody can write that.
func (c *Commit) byForge() bool {
	for _, who := range []string{"noreply@github.com", "noreply@gitlab.com", "noreply@codeberg.org", "noreply.codeberg.org", "noreply@forgejo"} {
		if strings.Contains(c.Committer, who) {
			return true
		}
	}
	return false
}

package keysrc

import (
	"fmt"
	"io"
	"strings"

	"pullnode/sync"
)

// GitRequest asks pullnode-keyfetch for the repository of one source.
type GitRequest struct {
	Name string `json:"name"`
}

// GitAnswer comes before the object stream. Any class but sync.Moved is a
// failure, and no stream follows.
type GitAnswer struct {
	Class sync.Class `json:"class"`
	Text  string     `json:"text,omitempty"` // one line; parts may come from the server
}

// gitRequest is the number in the stream's header: each connection has one.
const gitRequest = 1

// GitWant is what the fetching process is to ask for: the whole history, as no
// commit of it is known, so that the stream ends with the tip's tree.
func (s GitSettings) GitWant() sync.Want {
	return sync.Want{Format: sync.StreamFormat, Request: gitRequest, Branch: s.Branch, Remotes: []sync.WantRemote{{Name: s.Name, URL: s.URL}}}
}

// ServeGit answers one request on conn. fetch brings what the settings of that
// name ask for and gives the object stream, or a report of what failed.
func ServeGit(conn io.ReadWriter, sources map[string]GitSettings, fetch func(GitSettings) (io.ReadCloser, sync.Report)) error {
	var req GitRequest
	if err := readFrame(conn, &req); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	s, ok := sources[req.Name]
	if !ok {
		return writeFrame(conn, GitAnswer{Class: sync.Internal, Text: fmt.Sprintf("there is no git source %q in the settings of pullnode-keyfetch", clip(req.Name))})
	}
	stream, rep := fetch(s)
	if stream == nil {
		return writeFrame(conn, GitAnswer{Class: rep.Class, Text: rep.Text})
	}
	defer stream.Close()
	if err := writeFrame(conn, GitAnswer{Class: sync.Moved}); err != nil {
		return err
	}
	_, err := io.Copy(conn, stream)
	return err
}

// gitError says what a failed fetch means for the search.
func gitError(a GitAnswer) error {
	text := clean(a.Text)
	switch a.Class {
	case sync.Unreachable, sync.TimedOut, sync.Throttled, sync.ServerError:
		return fmt.Errorf("%w: %s", ErrTemporary, text)
	case sync.AuthFailed, sync.HostKey, sync.TLSFailed:
		return fmt.Errorf("%w: %s", ErrDenied, text)
	}
	return fmt.Errorf("%s: %s", clip(string(a.Class)), text)
}

// clean makes text from another machine fit for one line.
func clean(s string) string {
	return strings.TrimSpace(strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "?"))
}

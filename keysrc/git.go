package keysrc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pullnode/internal/registry"
	"pullnode/sync"
)

func init() { registry.Add(&Kinds, "git", openGit) }

// GitSettings are those of the source "git".
type GitSettings struct {
	// Name tells the repositories of several such sources apart and names their
	// credentials; default "keys".
	Name string `json:"name,omitempty"`
	// URL of the repository: https://, ssh:// or an absolute path.
	URL string `json:"url"`
	// Branch that holds the file; default "main".
	Branch string `json:"branch,omitempty"`
	// File is the path of the identity file in the repository.
	File string `json:"file"`
	// Auth is how to read the repository. The files are given to the fetching
	// process alone, never to the keys process.
	TokenFile string `json:"tokenFile,omitempty"` // for https
	KeyFile   string `json:"keyFile,omitempty"`   // SSH private key, for ssh
	HostKey   string `json:"hostKey,omitempty"`   // the server's key, pinned
	// Unlock says what the file in the repository is encrypted for: see unlock.
	Unlock string `json:"unlock,omitempty"`
	// Socket is where pullnode-keyfetch listens; default GitSocket.
	Socket string `json:"socket,omitempty"`
}

// GitSocket is where pullnode-keyfetch listens.
const GitSocket = "/run/pullnode-keyfetch.sock"

// gitTimeout is for the whole fetch; repositories with keys are small.
const gitTimeout = 2 * time.Minute

// gitLimits bound the object stream of such a repository.
var gitLimits = sync.Limits{Commits: 10_000, Records: 16 << 20, Stream: 64 << 20, Object: 1 << 20, Files: 10_000, TreeSize: 32 << 20}

type gitSource struct {
	name, file string
	unlock     unlock
	socket     string
}

func openGit(s GitSettings) (Source, error) {
	s, err := s.check()
	if err != nil {
		return nil, err
	}
	u, err := openUnlock(s.Unlock)
	if err != nil {
		return nil, err
	}
	return gitSource{name: s.Name, file: s.File, unlock: u, socket: s.Socket}, nil
}

func (s GitSettings) check() (GitSettings, error) {
	if s.Name == "" {
		s.Name = "keys"
	}
	if s.Socket == "" {
		s.Socket = GitSocket
	}
	if s.Branch == "" {
		s.Branch = "main"
	}
	local := filepath.IsAbs(s.URL)
	ssh, https := strings.HasPrefix(s.URL, "ssh://"), strings.HasPrefix(s.URL, "https://")
	switch {
	case strings.ContainsAny(s.Name, "/:.\x00 ") || len(s.Name) > 60:
		return s, fmt.Errorf("name: %q is no plain name", s.Name)
	case !local && !ssh && !https:
		return s, errors.New("url: want https://, ssh:// or an absolute path")
	case ssh && (s.KeyFile == "" || s.HostKey == ""):
		return s, errors.New("url: ssh needs keyFile and hostKey")
	case !fs.ValidPath(s.File) || s.File == ".":
		return s, fmt.Errorf("file: %q is not a path in the repository", s.File)
	}
	for field, p := range map[string]string{"keyFile": s.KeyFile, "tokenFile": s.TokenFile} {
		if p == "" {
			continue
		}
		if _, err := checkPath(p); err != nil {
			return s, fmt.Errorf("%s: %s", field, strings.TrimPrefix(err.Error(), "path: "))
		}
	}
	return s, nil
}

// GitSources gives the settings of the sources of the type "git", for the
// process that fetches for them. Two of one name are an error.
func GitSources(raw []json.RawMessage) (map[string]GitSettings, error) {
	all := map[string]GitSettings{}
	for i, r := range raw {
		var s struct {
			Type string `json:"type"`
			GitSettings
		}
		// Settings that are wrong were refused with a better error before.
		if err := json.Unmarshal(r, &s); err != nil || s.Type != "git" {
			continue
		}
		g, err := s.check()
		if err != nil {
			return nil, fmt.Errorf("sources[%d]: %w", i, err)
		}
		if _, twice := all[g.Name]; twice {
			return nil, fmt.Errorf("sources[%d]: name: there are two git sources of the name %q", i, g.Name)
		}
		all[g.Name] = g
	}
	return all, nil
}

// Name is Source's.
func (g gitSource) Name() string { return "git:" + g.name + "/" + g.file }

// Fetch is Source's. What the fetching process sends is hashed here, front to
// back; it never sees what the file is decrypted to.
func (g gitSource) Fetch(ctx context.Context) (*Key, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", g.socket)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: nobody listens on %s: is pullnode-keyfetch.socket active?", ErrTemporary, g.socket)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	raw, err := g.ask(conn)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	defer clear(raw)
	return g.unlock.key(ctx, raw)
}

func (g gitSource) ask(conn net.Conn) ([]byte, error) {
	if err := writeFrame(conn, GitRequest{Name: g.name}); err != nil {
		return nil, fmt.Errorf("ask pullnode-keyfetch: %w", err)
	}
	var answer GitAnswer
	if err := readFrame(conn, &answer); err != nil {
		return nil, fmt.Errorf("ask pullnode-keyfetch: %w", err)
	}
	if answer.Class != sync.Moved {
		return nil, gitError(answer)
	}
	spool := &memorySpool{}
	defer spool.wipe()
	stream, err := sync.StreamReader{Want: sync.Want{Format: sync.StreamFormat, Request: gitRequest}, Limits: gitLimits, Spool: spool}.Read(conn)
	if err != nil {
		return nil, fmt.Errorf("%w: what was fetched: %w", ErrCorrupt, err)
	}
	raw, err := stream.TipFile(g.file, keyLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the repository has no file %s at its newest commit", g.file)
	}
	return raw, err
}

// memorySpool keeps the stream in memory only.
type memorySpool struct{ b []byte }

// Write appends. What the growing leaves behind is overwritten.
func (s *memorySpool) Write(p []byte) (int, error) {
	if need := len(s.b) + len(p); need > cap(s.b) {
		bigger := make([]byte, len(s.b), 2*need)
		copy(bigger, s.b)
		s.wipe()
		s.b = bigger
	}
	s.b = append(s.b, p...)
	return len(p), nil
}

// ReadAt is io.ReaderAt's.
func (s *memorySpool) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(s.b)) {
		return 0, io.EOF
	}
	n := copy(p, s.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *memorySpool) wipe() { clear(s.b[:cap(s.b)]) }

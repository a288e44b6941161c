package activate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

var errLock = errors.New("flake.lock")

// maxLock is far above the lock file of a flake with thousands of inputs.
const maxLock = 4 << 20

// LintLock checks of a flake's directory that flake.lock pins every input by content and reaches
// nothing outside of the tree. It says whether there are inputs at all.
func LintLock(dir string) (inputs bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, "flake.nix")); err != nil {
		return false, fmt.Errorf("there is no flake.nix in %q of the repository", filepath.Base(dir))
	}
	f, err := os.Open(filepath.Join(dir, "flake.lock"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // a flake without inputs; nix refuses one that has some
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxLock+1))
	if err != nil {
		return false, err
	}
	return lintLock(raw)
}

func lintLock(raw []byte) (inputs bool, err error) {
	if len(raw) > maxLock {
		return false, fmt.Errorf("%w is over %d bytes", errLock, maxLock)
	}
	top, err := oneReading(raw)
	if err != nil {
		return false, fmt.Errorf("%w is no lock file: %w", errLock, err)
	}
	lock, _ := top.(map[string]any)
	nodes, _ := lock["nodes"].(map[string]any)
	root, _ := lock["root"].(string)
	if _, ok := nodes[root].(map[string]any); !ok {
		return false, fmt.Errorf("%w is no lock file: it has no root among its nodes", errLock)
	}
	for name, n := range nodes {
		if name == root {
			continue
		}
		inputs = true
		if err := lintInput(name, n); err != nil {
			return inputs, err
		}
	}
	return inputs, nil
}

// lintInput judges one node of the lock file. Formats: the Nix manual, "nix
// flake", section "Lock files".
func lintInput(name string, n any) error {
	node, _ := n.(map[string]any)
	locked, ok := node["locked"].(map[string]any)
	if !ok {
		return fmt.Errorf("%w: the input %q is not locked", errLock, name)
	}
	typ, _ := locked["type"].(string)
	where, _ := locked["path"].(string)
	url, _ := locked["url"].(string)
	nar, _ := locked["narHash"].(string)
	_, child := node["parent"].([]any)
	switch {
	case typ == "indirect":
		return fmt.Errorf("%w: the input %q is looked up in a registry", errLock, name)
	case typ == "path" && child && filepath.IsLocal(where):
		return nil // a part of this tree; newer Nix writes no hash for it
	case typ == "path":
		return fmt.Errorf("%w: the input %q is the directory %q outside of the repository", errLock, name, where)
	case strings.HasPrefix(url, "file:") || strings.HasPrefix(url, "/"):
		return fmt.Errorf("%w: the input %q is a local file %q", errLock, name, url)
	case nar == "":
		return fmt.Errorf("%w: the input %q has no narHash", errLock, name)
	}
	// The length too, because the decoder passes over line ends.
	hash, _ := strings.CutPrefix(nar, "sha256-")
	if b, err := base64.StdEncoding.DecodeString(hash); len(nar) != 51 || err != nil || len(b) != 32 {
		return fmt.Errorf("%w: the narHash %.80q of the input %q is no SHA-256", errLock, nar, name)
	}
	return nil
}

// oneReading decodes JSON that every reader understands alike. A name that is
// there twice would be one thing here and may be another in Nix; so may bytes
// that are no text.
func oneReading(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more after its end")
	}
	return v, nil
}

// maxNesting is more than a lock file needs, which nests five deep.
const maxNesting = 32

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("it is nested deeper than %d", maxNesting)
	}
	switch t {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := k.(string) // the decoder takes nothing else here
			if _, twice := m[name]; twice {
				return nil, fmt.Errorf("%.80q is there twice", name)
			}
			if m[name], err = value(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return m, err
	case json.Delim('['):
		var list []any
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		if list == nil {
			list = []any{} // an empty parent is one: the flake itself
		}
		return list, err
	}
	return t, nil
}

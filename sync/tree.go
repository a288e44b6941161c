package sync

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Modes of tree entries, as git writes them. 100664 was written by old gits
// and means 100644.
const (
	modeFile     = "100644"
	modeFileOld  = "100664"
	modeExec     = "100755"
	modeSymlink  = "120000"
	modeTree     = "40000"
	modeSubmodul = "160000"
)

type entry struct {
	mode string
	name string
	id   ID
}

// parseTree reads a tree object: "<mode> <name>\0<20 bytes>" repeated, in git's
// order. A duplicate or misplaced name is an error: with it, which entry a path
// means would depend on the reader.
func parseTree(raw []byte) ([]entry, error) {
	var entries []entry
	last := ""
	for len(raw) > 0 {
		sp := bytes.IndexByte(raw, ' ')
		nul := bytes.IndexByte(raw, 0)
		if sp < 0 || nul < sp || len(raw) < nul+21 {
			return nil, errors.New("tree is cut short")
		}
		e := entry{mode: string(raw[:sp]), name: string(raw[sp+1 : nul]), id: ID(hex.EncodeToString(raw[nul+1 : nul+21]))}
		raw = raw[nul+21:]
		switch e.mode {
		case modeFile, modeFileOld, modeExec, modeSymlink, modeTree, modeSubmodul:
		default:
			return nil, fmt.Errorf("tree entry %q has the mode %.10q", e.name, e.mode)
		}
		if e.name == "" || strings.Contains(e.name, "/") {
			return nil, fmt.Errorf("tree has an entry named %q", e.name)
		}
		key := e.name
		if e.mode == modeTree {
			key += "/"
		}
		if last != "" && key <= last {
			return nil, fmt.Errorf("tree entry %q is out of order or there twice", e.name)
		}
		last = key
		entries = append(entries, e)
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		if names[e.name] { // "a" and "a/" sort apart, so order alone misses them
			return nil, fmt.Errorf("tree entry %q is there twice", e.name)
		}
		names[e.name] = true
	}
	return entries, nil
}

func find(entries []entry, name string) (entry, bool) {
	for _, e := range entries {
		if e.name == name {
			return e, true
		}
	}
	return entry{}, false
}

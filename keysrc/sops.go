package keysrc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ErrNotSOPS is wrapped for a file without SOPS metadata.
var ErrNotSOPS = errors.New("not a sops file")

// Limits of what is read from one SOPS file.
const (
	fileLimit    = 32 << 20 // a binary secret may be large
	maxGroups    = 64
	maxEntries   = 1024
	maxRecipient = 4 << 10  // a post-quantum recipient has 1,959 characters
	maxEnc       = 64 << 10 // the armoured data key
)

// Meta is the part of a SOPS file's metadata that says who can open it. It
// holds no plaintext. The layout is sops's own (stores/stores.go, Metadata).
type Meta struct {
	Name   string  `json:"name"`
	Groups []Group `json:"groups"`
	// Threshold is how many groups must open; with one group it is 1.
	Threshold int `json:"threshold"`
}

// Group is a SOPS key group: any one of its keys opens it.
type Group struct {
	Age []AgeEntry `json:"age,omitempty"`
	// Others are the kinds of its other keys ("pgp", "kms"), which are shown
	// and never tried.
	Others []string `json:"others,omitempty"`
}

// AgeEntry is the data key, or a share of it, for one age recipient.
type AgeEntry struct {
	Recipient string `json:"recipient"`
	Enc       string `json:"enc"` // an armoured age file
}

// ReadMeta reads the metadata of a file that sops wrote as YAML, JSON, dotenv,
// INI or binary (which is JSON). The format is taken from the content, as the
// extension of a binary file says nothing. A file without metadata wraps
// ErrNotSOPS; every other error means that it has some and sops would not read
// it either. Names and content may come from anywhere.
func ReadMeta(name string, content []byte) (Meta, error) {
	if len(content) > fileLimit {
		return Meta{}, fmt.Errorf("is over %d bytes", fileLimit)
	}
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	for _, read := range []func([]byte) (map[string]any, error){readJSON, readYAML, readDotenv, readINI} {
		tree, err := read(content)
		if errors.Is(err, ErrNotSOPS) {
			continue
		}
		if err != nil {
			return Meta{}, err
		}
		if !looksLikeSOPS(tree) {
			continue
		}
		m, err := metaOf(tree)
		m.Name = name
		return m, err
	}
	// A file that lost its metadata still has values that only sops writes.
	if bytes.Contains(content, []byte("ENC[AES256_GCM,data:")) {
		return Meta{}, errors.New("has values encrypted by sops and no sops metadata that can be read: the file is truncated or was edited by hand")
	}
	return Meta{}, ErrNotSOPS
}

// looksLikeSOPS tells metadata from some program's own settings about sops: any
// one of the fields that only metadata has is enough, so that a truncated file
// is malformed and not overlooked.
func looksLikeSOPS(tree map[string]any) bool {
	for _, field := range []string{"mac", "lastmodified", "age", "pgp", "kms", "key_groups"} {
		if _, ok := tree[field]; ok {
			return true
		}
	}
	return false
}

// metaOf reads the tree that all formats come down to. As in sops, keys at the
// top make the only group, and key_groups count when there are none.
func metaOf(tree map[string]any) (Meta, error) {
	for _, field := range []string{"lastmodified", "mac"} {
		if s, ok := tree[field].(string); !ok || s == "" {
			return Meta{}, fmt.Errorf("the sops metadata has no %s: the file is truncated or was edited by hand", field)
		}
	}
	top, err := groupOf(tree)
	if err != nil {
		return Meta{}, err
	}
	if len(top.Age)+len(top.Others) > 0 {
		return Meta{Groups: []Group{top}, Threshold: 1}, nil
	}
	list, ok := tree["key_groups"].([]any)
	if !ok || len(list) == 0 {
		return Meta{}, errors.New("the sops metadata holds no keys")
	}
	if len(list) > maxGroups {
		return Meta{}, fmt.Errorf("the sops metadata has over %d key groups", maxGroups)
	}
	var m Meta
	for i, item := range list {
		fields, ok := item.(map[string]any)
		if !ok {
			return Meta{}, fmt.Errorf("key_groups[%d] is not a group of keys", i)
		}
		g, err := groupOf(fields)
		if err != nil {
			return Meta{}, fmt.Errorf("key_groups[%d]: %w", i, err)
		}
		m.Groups = append(m.Groups, g)
	}
	m.Threshold, err = thresholdOf(tree["shamir_threshold"], len(m.Groups))
	return m, err
}

// thresholdOf: sops writes the number for more than one group; without it every
// group is needed, which is what sops takes when it makes the file.
func thresholdOf(v any, groups int) (int, error) {
	if groups == 1 {
		return 1, nil
	}
	text := cmp.Or(fmt.Sprint(v), "0")
	if v == nil {
		text = "0"
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("shamir_threshold is %q, want a number", clip(text))
	case n == 0:
		return groups, nil
	case n < 0 || n > groups:
		return 0, fmt.Errorf("shamir_threshold is %d of %d key groups", n, groups)
	}
	return n, nil
}

// groupOf finds the lists of keys in a group or at the top: every list whose
// entries have an "enc", so that a kind of key that sops learns later is shown.
func groupOf(fields map[string]any) (Group, error) {
	var g Group
	for _, kind := range slices.Sorted(maps.Keys(fields)) {
		list, ok := fields[kind].([]any)
		if !ok || kind == "key_groups" {
			if kind == "age" && fields[kind] != nil {
				return Group{}, errors.New("age is not a list")
			}
			continue
		}
		if len(list) > maxEntries {
			return Group{}, fmt.Errorf("%s has over %d entries", clip(kind), maxEntries)
		}
		for i, item := range list {
			entry, _ := item.(map[string]any)
			if kind != "age" {
				if _, ok := entry["enc"]; ok && !slices.Contains(g.Others, kind) {
					g.Others = append(g.Others, clip(kind))
				}
				continue
			}
			a, err := ageEntryOf(entry)
			if err != nil {
				return Group{}, fmt.Errorf("age[%d]: %w", i, err)
			}
			g.Age = append(g.Age, a)
		}
	}
	return g, nil
}

func ageEntryOf(entry map[string]any) (AgeEntry, error) {
	recipient, _ := entry["recipient"].(string)
	enc, _ := entry["enc"].(string)
	switch {
	case recipient == "":
		return AgeEntry{}, errors.New("has no recipient")
	case len(recipient) > maxRecipient || strings.ContainsFunc(recipient, notGraphic):
		return AgeEntry{}, fmt.Errorf("recipient %q is not one", clip(recipient))
	case enc == "":
		return AgeEntry{}, fmt.Errorf("recipient %s has no enc", short(recipient))
	case len(enc) > maxEnc:
		return AgeEntry{}, fmt.Errorf("enc of recipient %s is over %d bytes", short(recipient), maxEnc)
	}
	return AgeEntry{Recipient: recipient, Enc: enc}, nil
}

// notGraphic is true for what must not get to a terminal; an SSH recipient has
// spaces.
func notGraphic(r rune) bool { return r < ' ' || r > '~' }

// clip shortens text of unknown origin for an error.
func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

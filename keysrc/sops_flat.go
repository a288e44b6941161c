package keysrc

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readDotenv finds the lines "sops_<field>=<value>".
func readDotenv(content []byte) (map[string]any, error) {
	flat := map[string]string{}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if field, is := strings.CutPrefix(key, "sops_"); ok && is {
			flat[field] = value
		}
	}
	return unflatten(flat)
}

// readINI finds the section [sops].
func readINI(content []byte) (map[string]any, error) {
	if !bytes.Contains(content, []byte("[sops]")) {
		return nil, ErrNotSOPS
	}
	flat, in := map[string]string{}, false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			in = line == "[sops]"
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if in && ok && line[0] != '#' && line[0] != ';' {
			flat[strings.TrimSpace(key)] = unquoteINI(strings.TrimSpace(value))
		}
	}
	return unflatten(flat)
}

// unquoteINI takes off the quotes that sops's INI writer puts around a value
// with special characters.
func unquoteINI(s string) string {
	for _, q := range []string{`"""`, "`", `"`} {
		if len(s) >= 2*len(q) && strings.HasPrefix(s, q) && strings.HasSuffix(s, q) {
			return s[len(q) : len(s)-len(q)]
		}
	}
	return s
}

// flatKey is how sops flattens the metadata for formats without nesting
// (stores/flatten.go): "age__list_0__map_enc", in a key group
// "key_groups__list_1__map_age__list_0__map_enc".
var flatKey = regexp.MustCompile(`^(?:key_groups__list_([0-9]{1,4})__map_)?([a-z_]+?)__list_([0-9]{1,4})__map_([a-z_]+)$`)

// unflatten makes a tree of flattened metadata. Fields that do not say who can
// open the file may come out differently than sops would read them.
func unflatten(flat map[string]string) (map[string]any, error) {
	if len(flat) == 0 {
		return nil, ErrNotSOPS
	}
	type list = map[int]map[string]any
	tree := map[string]any{}
	top, groups := map[string]list{}, map[int]map[string]list{}
	for key, value := range flat {
		value = strings.ReplaceAll(value, `\n`, "\n")
		m := flatKey.FindStringSubmatch(key)
		if m == nil {
			if !strings.Contains(key, "__") {
				tree[key] = value
			}
			continue
		}
		kinds := top
		if m[1] != "" {
			n, _ := strconv.Atoi(m[1])
			if groups[n] == nil {
				groups[n] = map[string]list{}
			}
			kinds = groups[n]
		}
		n, _ := strconv.Atoi(m[3])
		if kinds[m[2]] == nil {
			kinds[m[2]] = list{}
		}
		if kinds[m[2]][n] == nil {
			kinds[m[2]][n] = map[string]any{}
		}
		kinds[m[2]][n][m[4]] = value
	}
	fill := func(into map[string]any, kinds map[string]list) error {
		for kind, entries := range kinds {
			all, err := inOrder(kind, entries)
			if err != nil {
				return err
			}
			into[kind] = all
		}
		return nil
	}
	if err := fill(tree, top); err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return tree, nil
	}
	filled := map[int]map[string]any{}
	for n, kinds := range groups {
		filled[n] = map[string]any{}
		if err := fill(filled[n], kinds); err != nil {
			return nil, err
		}
	}
	all, err := inOrder("key_groups", filled)
	tree["key_groups"] = all
	return tree, err
}

// inOrder makes a list of numbered entries; a gap means that lines were lost.
func inOrder(name string, entries map[int]map[string]any) ([]any, error) {
	out := make([]any, 0, len(entries))
	for i, n := range slices.Sorted(maps.Keys(entries)) {
		if i != n {
			return nil, fmt.Errorf("%s has no entry %d: lines of the sops metadata are missing", clip(name), i)
		}
		out = append(out, entries[n])
	}
	return out, nil
}

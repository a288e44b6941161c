package keysrc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// sopsFile writes the layouts that sops 3.7 to 3.12 write (stores/*), with real
// age data keys; the values are as opaque to keysrc as sops's own.
type sopsFile struct {
	groups    [][]string // age recipients; "pgp" is a key of another kind
	threshold int
	size      int // of the data key, 0 for what sops takes
}

const mac = "ENC[AES256_GCM,data:d2hhdGV2ZXI=,iv:aXY=,tag:dGFn,type:str]"

func seal(t *testing.T, recipient string, size int) string {
	t.Helper()
	r, err := age.ParseRecipients(strings.NewReader(recipient))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	a := armor.NewWriter(&buf)
	w, err := age.Encrypt(a, r...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(bytes.Repeat([]byte{7}, size))
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// tree is the metadata as sops's stores.Metadata marshals.
func (f sopsFile) tree(t *testing.T) map[string]any {
	size := f.size
	if size == 0 {
		size = 32
		if len(f.groups) > 1 {
			size = 33
		}
	}
	group := func(rs []string) map[string]any {
		g := map[string]any{"hc_vault": []any{}, "age": []any{}}
		for _, r := range rs {
			kind, e := "age", map[string]any{"recipient": r}
			if r == "pgp" {
				kind, e = "pgp", map[string]any{"created_at": "2026-01-01T00:00:00Z", "fp": "7FB8", "enc": "-----BEGIN PGP MESSAGE-----\n\nhQEM\n-----END PGP MESSAGE-----\n"}
			} else {
				e["enc"] = seal(t, r, size)
			}
			list, _ := g[kind].([]any)
			g[kind] = append(list, e)
		}
		return g
	}
	m := map[string]any{"lastmodified": "2026-11-01T10:00:00Z", "mac": mac, "unencrypted_suffix": "_unencrypted", "version": "3.12.1"}
	empty := map[string]any{"kms": []any{}, "gcp_kms": []any{}, "azure_kv": []any{}, "hc_vault": []any{}, "age": []any{}, "pgp": []any{}}
	maps.Copy(m, empty)
	if len(f.groups) == 1 {
		maps.Copy(m, group(f.groups[0]))
		return m
	}
	var groups []any
	for _, g := range f.groups {
		groups = append(groups, group(g))
	}
	m["key_groups"] = groups
	if f.threshold > 0 {
		m["shamir_threshold"] = f.threshold
	}
	return m
}

func toJSON(t *testing.T, tree map[string]any) []byte {
	out, err := json.MarshalIndent(map[string]any{"data": mac, "sops": tree}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// toYAML writes with step blanks of indentation; lists are indented by list
// further blanks than their key.
func toYAML(tree map[string]any, step, list int) []byte {
	var b bytes.Buffer
	var emit func(v any, indent int, first bool)
	field := func(k string, v any, indent int) {
		pad := strings.Repeat(" ", indent)
		switch v := v.(type) {
		case []any:
			if len(v) == 0 {
				fmt.Fprintf(&b, "%s: []\n", k)
				return
			}
			fmt.Fprintf(&b, "%s:\n", k)
			for _, e := range v {
				fmt.Fprintf(&b, "%s%s- ", pad, strings.Repeat(" ", list))
				emit(e, indent+list+2, true)
			}
		case string:
			switch {
			case strings.Contains(v, "\n"):
				fmt.Fprintf(&b, "%s: |\n", k)
				for line := range strings.Lines(v) {
					if line != "\n" {
						fmt.Fprintf(&b, "%s%s", strings.Repeat(" ", indent+step), line)
					} else {
						b.WriteString("\n")
					}
				}
			case k == "lastmodified":
				fmt.Fprintf(&b, "%s: %q\n", k, v)
			default:
				fmt.Fprintf(&b, "%s: %s\n", k, v)
			}
		default:
			fmt.Fprintf(&b, "%s: %v\n", k, v)
		}
	}
	emit = func(v any, indent int, first bool) {
		m := v.(map[string]any)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !first {
				b.WriteString(strings.Repeat(" ", indent))
			}
			first = false
			field(k, m[k], indent)
		}
	}
	b.WriteString("hello: " + mac + "\nnested:\n" + strings.Repeat(" ", step) + "sops: plain\nsops:\n")
	emit(tree, step, false)
	return b.Bytes()
}

func flatten(prefix string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flatten(prefix+"__map_"+k, e, into)
		}
	case []any:
		for i, e := range v {
			flatten(fmt.Sprintf("%s__list_%d", prefix, i), e, into)
		}
	default:
		into[strings.TrimPrefix(prefix, "__map_")] = strings.ReplaceAll(fmt.Sprint(v), "\n", `\n`)
	}
}

func toDotenv(tree map[string]any) []byte {
	flat := map[string]string{}
	flatten("", tree, flat)
	var b strings.Builder
	b.WriteString("# " + mac + "\nHELLO=" + mac + "\n")
	for _, k := range slices.Sorted(maps.Keys(flat)) {
		fmt.Fprintf(&b, "sops_%s=%s\n", k, flat[k])
	}
	return []byte(b.String())
}

func toINI(tree map[string]any) []byte {
	flat := map[string]string{}
	flatten("", tree, flat)
	var b strings.Builder
	b.WriteString("[section]\nhello = " + mac + "\n\n[sops]\n")
	for k, v := range flat { // in the order of a map, as sops does
		fmt.Fprintf(&b, "%-40s = %s\n", k, v)
	}
	return []byte(b.String())
}

// formats gives the file in every format and indentation.
func formats(t *testing.T, f sopsFile) map[string][]byte {
	tree := f.tree(t)
	return map[string][]byte{
		"json":                 toJSON(t, tree),
		"yaml":                 toYAML(tree, 4, 4),
		"yaml, indent 2":       toYAML(tree, 2, 2),
		"yaml, prettier lists": toYAML(tree, 2, 0),
		"yaml, crlf":           bytes.ReplaceAll(toYAML(tree, 4, 4), []byte("\n"), []byte("\r\n")),
		"yaml, more documents": append(toYAML(tree, 4, 4), "---\nother: 1\n"...),
		"dotenv":               toDotenv(tree),
		"ini":                  toINI(tree),
	}
}

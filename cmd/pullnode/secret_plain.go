package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// plainIn names the first value of a sops file that its own rules have encrypted and
// that is not: added by hand, it would be as readable as before. INI and binary files
// are not looked into.
func plainIn(name string, raw []byte) string {
	if strings.HasSuffix(name, ".env") {
		return plainLine(raw)
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
	default:
		return ""
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw)) // JSON is YAML
	var rule plainRule
	for first := true; ; first = false {
		var doc map[string]any
		if dec.Decode(&doc) != nil {
			return "" // the end, or what ReadMeta has refused
		}
		if meta, _ := doc["sops"].(map[string]any); first || meta != nil {
			rule = ruleOf(meta)
		}
		delete(doc, "sops")
		if at := rule.plain(doc, nil); at != "" {
			return at
		}
	}
}

// plainLine is plainIn for KEY=VALUE lines.
func plainLine(raw []byte) string {
	for l := range strings.Lines(string(raw)) {
		key, value, ok := strings.Cut(strings.TrimSpace(l), "=")
		if ok && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, "sops_") && value != "" &&
			!strings.HasPrefix(value, "ENC[") && !strings.HasSuffix(key, "_unencrypted") {
			return key
		}
	}
	return ""
}

// plainRule is what sops leaves as it is, by the file's metadata: see "Encrypting only
// parts of a file" in its README.
type plainRule struct {
	any  bool // by comments, which are not looked at here
	may  func(key string) bool
	must func(key string) bool
}

func ruleOf(meta map[string]any) (r plainRule) {
	text := func(name string) string { s, _ := meta[name].(string); return s }
	suffix := func(end string) func(string) bool {
		return func(key string) bool { return strings.HasSuffix(key, end) }
	}
	r.any = text("unencrypted_comment_regex")+text("encrypted_comment_regex") != ""
	if s := text("unencrypted_suffix"); s != "" {
		r.may = suffix(s)
	} else if re, err := regexp.Compile(text("unencrypted_regex")); err == nil && text("unencrypted_regex") != "" {
		r.may = re.MatchString
	}
	if s := text("encrypted_suffix"); s != "" {
		r.must = suffix(s)
	} else if re, err := regexp.Compile(text("encrypted_regex")); err == nil && text("encrypted_regex") != "" {
		r.must = re.MatchString
	}
	return r
}

// plain gives the path of the first value below v that should be encrypted. sops has
// nothing to encrypt in empty ones.
func (r plainRule) plain(v any, path []string) string {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at := r.plain(v[key], append(path, key)); at != "" {
				return at
			}
		}
		return ""
	case []any:
		for _, e := range v {
			if at := r.plain(e, path); at != "" {
				return at
			}
		}
		return ""
	case nil:
		return ""
	case string:
		if v == "" || strings.HasPrefix(v, "ENC[") {
			return ""
		}
	}
	if r.any || r.may != nil && slices.ContainsFunc(path, r.may) || r.must != nil && !slices.ContainsFunc(path, r.must) {
		return ""
	}
	return strings.Join(path, ".")
}

var inBase64 = regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/]{40,}`) // "-----BEGIN "

// hiddenKey says what private key a file has that no mark of text shows.
func hiddenKey(raw []byte) (what string, at int) {
	for _, m := range inBase64.FindAllIndex(raw, 50) {
		text, _ := base64.RawStdEncoding.DecodeString(string(raw[m[0] : m[0]+(m[1]-m[0])/4*4]))
		if bytes.Contains(text[:min(len(text), 64)], []byte("PRIVATE KEY")) {
			return "a private key in base64", m[0]
		}
	}
	if len(raw) > 16<<10 || len(raw) == 0 || raw[0] != 0x30 {
		return "", 0
	}
	for kind, parse := range map[string]func([]byte) error{
		"PKCS #8": func(b []byte) error { _, err := x509.ParsePKCS8PrivateKey(b); return err },
		"PKCS #1": func(b []byte) error { _, err := x509.ParsePKCS1PrivateKey(b); return err },
		"SEC 1":   func(b []byte) error { _, err := x509.ParseECPrivateKey(b); return err },
	} {
		if parse(raw) == nil {
			return fmt.Sprintf("a private key (%s, DER)", kind), 0
		}
	}
	return "", 0
}

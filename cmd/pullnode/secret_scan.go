package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"pullnode/keysrc"
)

// leak is something that must not be committed. It never quotes the content.
type leak struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	What string `json:"what"`
}

// String gives one line for people.
func (l leak) String() string {
	if l.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", safe(l.File), l.Line, l.What)
	}
	return safe(l.File) + ": " + l.What
}

// sopsRules are the path_regex lines of .sops.yaml: what they match is a secret.
type sopsRules []*regexp.Regexp

func (r sopsRules) match(name string) bool {
	for _, re := range r {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

var pathRegexRE = regexp.MustCompile(`(?m)^\s*(?:- )?\s*path_regex:\s*(.*?)\s*$`)

func secretRules(top string) (sopsRules, error) {
	raw, err := os.ReadFile(filepath.Join(top, ".sops.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return sopsRulesIn(raw)
}

func sopsRulesIn(raw []byte) (rules sopsRules, err error) {
	for _, m := range pathRegexRE.FindAllSubmatch(raw, -1) {
		text := strings.Trim(string(m[1]), `"'`)
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf(".sops.yaml: path_regex %q: %w", text, err)
		}
		rules = append(rules, re)
	}
	return rules, nil
}

// keyLines are what PEM, OpenPGP's armor and ssh.com's format have behind a few header
// lines: lines of 64 characters, or about as many.
var keyLines = regexp.MustCompile(`[A-Za-z0-9+/=]{40}`)

// privateKeys are the marks of private keys, as git and this program read them: but
// for the (?m), POSIX means the same.
var privateKeys = []struct {
	what string
	re   *regexp.Regexp
	// body must follow the mark: a program that only speaks of keys has none.
	body *regexp.Regexp
}{
	{"an age identity", regexp.MustCompile(`AGE-SECRET-KEY-(PQ-)?1[02-9AC-HJ-NP-Z]{50,}`), nil},
	{"a private key", regexp.MustCompile(`-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----`), keyLines},
	// That of ssh.com and of RFC 4716's family.
	{"a private key", regexp.MustCompile(`---- BEGIN SSH2 (ENCRYPTED )?PRIVATE KEY ----`), keyLines},
	{"a private key of PuTTY", regexp.MustCompile(`PuTTY-User-Key-File-[0-9]: `), regexp.MustCompile(`Private-Lines: [0-9]`)},
	{"a private key of WireGuard", regexp.MustCompile(`(?m)^[[:space:]]*(PrivateKey|PresharedKey)[[:space:]]*=[[:space:]]*[A-Za-z0-9+/]{43}=[[:space:]]*$`), nil},
	// `nix key generate-secret`: 64 bytes, where a public key has 32.
	{"a signing key of Nix", regexp.MustCompile(`(?m)^[A-Za-z0-9._-]+:[A-Za-z0-9+/]{86}==[[:space:]]*$`), nil},
}

// keysIn gives the private keys of a file, the first of each kind.
func keysIn(name string, raw []byte) (found []leak) {
	for _, k := range privateKeys {
		for _, at := range k.re.FindAllIndex(raw, -1) {
			rest := raw[at[1]:]
			if k.body == nil || k.body.Match(rest[:min(len(rest), 512)]) {
				found = append(found, leak{File: name, Line: 1 + bytes.Count(raw[:at[0]], []byte("\n")), What: "holds " + k.what})
				break
			}
		}
	}
	if what, at := hiddenKey(raw); what != "" {
		found = append(found, leak{File: name, Line: 1 + bytes.Count(raw[:at], []byte("\n")), What: "holds " + what})
	}
	return found
}

// meantForAll are the keys of the example fleet, which everybody has.
func meantForAll(name string) bool {
	return strings.HasPrefix(name, "hosts/example/test-only-")
}

// isSecret says whether a file is one by its name: below secrets/, named secrets.*
// in a machine's folder, an environment (.env, web.env), or matched by .sops.yaml.
func isSecret(name string, rules sopsRules) bool {
	switch ext := filepath.Ext(name); ext {
	case ".md", ".nix":
		return false
	}
	base := filepath.Base(name)
	if base == ".env" || strings.HasSuffix(base, ".env") {
		return true
	}
	return strings.HasPrefix(name, "secrets/") || rules.match(name) ||
		strings.HasPrefix(name, "hosts/") && strings.HasPrefix(base, "secrets.")
}

func leaks(name string, raw []byte, rules sopsRules) (found []leak) {
	if isSecret(name, rules) {
		if _, err := keysrc.ReadMeta(name, raw); errors.Is(err, keysrc.ErrNotSOPS) {
			found = append(found, leak{File: name, What: "is not encrypted with sops"})
		} else if err != nil {
			found = append(found, leak{File: name, What: err.Error()})
		} else if at := plainIn(name, raw); at != "" {
			found = append(found, leak{File: name, What: "is encrypted with sops but for " + safe(at)})
		}
	}
	if meantForAll(name) {
		return found
	}
	return append(found, keysIn(name, raw)...)
}

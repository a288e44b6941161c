package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quotedCall = regexp.MustCompile("`(?:sudo )?pullnode ([a-z][^`]*)`")
	typedCall  = regexp.MustCompile(`(?m)^ {4,}(?:[$#] )?(?:sudo )?pullnode ([a-z].*)$`)
	aComment   = regexp.MustCompile(` # .*| {2,}.*`)
)

// Every command that the documents show is there, with each of its flags.
func TestCommandsInDocs(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range append(files, "../../README.md", "../../SECURITY.md") {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// A call may go over the end of a line.
		text := regexp.MustCompile("(?m)([^\n])\n {0,3}([^\\s\n*#|`-])").ReplaceAllString(string(raw), "$1 $2")
		for _, c := range append(quotedCall.FindAllStringSubmatch(text, -1), typedCall.FindAllStringSubmatch(string(raw), -1)...) {
			seen++
			words := strings.Fields(strings.NewReplacer("|", " ", ",", " ").Replace(aComment.ReplaceAllString(c[1], "")))
			cmd, name := lookup(words)
			if cmd == nil {
				t.Errorf("%s: there is no pullnode %s", path, words)
				continue
			}
			fs := flag.NewFlagSet(name, flag.ContinueOnError)
			if cmd.flags != nil {
				cmd.flags(fs)
			}
			for _, word := range words {
				if word == "--" || cmd.verbatim {
					break // another program's
				}
				flagName, ok := strings.CutPrefix(strings.Trim(word, "[],.();"), "--")
				flagName, _, _ = strings.Cut(flagName, "=")
				if ok && fs.Lookup(flagName) == nil && flagName != "json" {
					t.Errorf("%s: pullnode %s has no --%s", path, name, flagName)
				}
			}
		}
	}
	if seen < 50 {
		t.Errorf("found only %d calls", seen)
	}
}

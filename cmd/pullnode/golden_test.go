package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pullnode/internal/durable"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares what people see with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := durable.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test ./cmd/pullnode -update writes it anew\n--- got\n%s--- want\n%s", path, got, want)
	}
	for i, l := range strings.Split(got, "\n") {
		if strings.TrimRight(l, " \t") != l {
			t.Errorf("%s: line %d ends in white space", name, i+1)
		}
	}
}

// typed gives what somebody sees who types the command.
func typed(args ...string) string {
	var out, errs bytes.Buffer
	exit := run(args, &out, &errs)
	return fmt.Sprintf("$ pullnode %s\n%s%sexit status %d\n", strings.Join(args, " "), out.String(), errs.String(), exit)
}

func TestCheckConfigGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/check-config/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		golden(t, strings.TrimPrefix(strings.TrimSuffix(f, ".json"), "testdata/"), typed("check-config", f)+typed("check-config", "--json", f))
	}
}

func TestHelpGolden(t *testing.T) {
	was := version
	defer func() { version = was }()
	version = "1.2.3"
	got := ""
	for l := range strings.Lines(typed("help")) {
		if len(l) > 80 {
			t.Errorf("help is wider than a terminal: %s", l)
		}
		if strings.HasPrefix(l, "  pullnode ") {
			continue // every command is one file, so the list is not pinned here
		}
		got += l
	}
	got += typed("version") + typed("statsu") + typed("check-config")
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		if commands()[name].short != "" {
			if own := typed(name, "--help"); !strings.Contains(own, "usage: pullnode "+name) || !strings.Contains(own, "exit status 0") {
				t.Error(own)
			}
			if !strings.Contains(usage, "pullnode "+name) && !strings.Contains(usage, ", "+name) {
				t.Errorf("help does not name %s", name)
			}
		}
	}
	golden(t, "help", got)
	if got := typed("version", "--json"); !strings.Contains(got, `"version": "1.2.3"`) || !strings.Contains(got, `"go": "go1`) {
		t.Error(got)
	}
}

// Every command that tells of a node or of settings has --json. Those that make a
// signed commit in a clone print what git prints.
func TestEveryCommandHasJSON(t *testing.T) {
	inClone := []string{"approve", "endorse", "rotate-signer", "reset", "hook"}
	servers := []string{"run", "keyserver"} // they print a log
	for name, c := range commands() {
		fs := flag.NewFlagSet(name, flag.ContinueOnError)
		if c.flags != nil {
			c.flags(fs)
		}
		if c.short != "" && !slices.Contains(servers, name) && !slices.Contains(inClone, name) && fs.Lookup("json") == nil {
			t.Errorf("%s has no --json", name)
		}
	}
}

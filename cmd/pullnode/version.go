package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is set by the linker.
var version = "0.1.0-dev"

func versionCommand() *command {
	var asJSON bool
	return &command{args: "[--json]", short: "print the version",
		flags: func(fs *flag.FlagSet) { jsonFlag(fs, &asJSON) },
		run: func(_ context.Context, _ []string, out io.Writer) error {
			if !asJSON {
				_, err := fmt.Fprintln(out, "pullnode", version)
				return err
			}
			v := struct {
				Version string `json:"version"`
				Commit  string `json:"commit,omitempty"` // that it was built from, where the builder knew
				Go      string `json:"go"`
			}{Version: version, Go: runtime.Version()}
			if b, ok := debug.ReadBuildInfo(); ok {
				for _, s := range b.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return printJSON(out, v)
		}}
}

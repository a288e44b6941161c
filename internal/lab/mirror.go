package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mirror gives the mirror of Debian's main archive that this machine's apt uses,
// from the configuration below dir; see sources.list(5). Nothing when it finds
// none: then mmdebstrap's own default holds.
func mirror(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	for _, f := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		uri := ""
		switch {
		case strings.HasSuffix(f, ".sources"):
			uri = mirrorOfStanzas(string(raw))
		case strings.HasSuffix(f, ".list"):
			uri = mirrorOfLines(string(raw))
		}
		if uri != "" {
			return uri
		}
	}
	return ""
}

// mirrorOfStanzas reads the deb822 style.
func mirrorOfStanzas(text string) string {
	for stanza := range strings.SplitSeq(text, "\n\n") {
		fields := map[string][]string{}
		for line := range strings.Lines(stanza) {
			if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
				fields[strings.ToLower(key)] = strings.Fields(value)
			}
		}
		if u := fields["uris"]; len(u) > 0 && isMain(u[0], fields["suites"], fields["components"]) {
			return u[0]
		}
	}
	return ""
}

// mirrorOfLines reads the one-line style: deb [options] uri suite component...
func mirrorOfLines(text string) string {
	for line := range strings.Lines(text) {
		if start, rest, ok := strings.Cut(line, "["); ok && strings.TrimSpace(start) == "deb" {
			_, rest, _ = strings.Cut(rest, "]")
			line = "deb " + rest
		}
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "deb" && isMain(f[1], f[2:3], f[3:]) {
			return f[1]
		}
	}
	return ""
}

// isMain tells the main archive from the security one and from other vendors':
// it has Debian's suites and is named debian.
func isMain(uri string, suites, components []string) bool {
	return strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian") && slices.Contains(components, "main") &&
		slices.ContainsFunc(suites, func(s string) bool { return s != "" && !strings.Contains(s, "/") })
}

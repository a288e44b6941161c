package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	blockRE    = regexp.MustCompile("(?ms)^ *```nix\n(.*?)^ *```")
	settingsRE = regexp.MustCompile(`\bsettings(\.[A-Za-z.]+)? = `)
)

// What people copy from the documents must be what this program reads.
func TestSettingsInDocs(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range blockRE.FindAllStringSubmatchIndex(string(raw), -1) {
			block := string(raw[m[2]:m[3]])
			if !settingsRE.MatchString(block) {
				continue
			}
			line := 1 + strings.Count(string(raw[:m[2]]), "\n")
			if err := checkSnippet(block); err != nil {
				t.Errorf("%s:%d: %v", filepath.Base(file), line, err)
			}
			found[filepath.Base(file)]++
		}
	}
	if found["README.md"] == 0 || found["health.md"] == 0 {
		t.Errorf("snippets found: %v; README.md and health.md have some", found)
	}
}

// The test above must be able to fail.
func TestSnippetsThatAreRefused(t *testing.T) {
	for block, say := range map[string]string{
		`settings = { ulr = "https://example.org/i.git"; };`:                           `unknown setting "ulr"`,
		`services.pullnode = { settings = { health.windw = "5m"; }; };`:                `unknown setting "windw"`,
		`services.pullnode.settings.schedule = { interval = 300; };`:                   "want a duration in quotes",
		`settings = { branch = "a..b"; };`:                                             "no branch name",
		`settings = { introduction = "x"; };`:                                          "introduction:",
		`settings = { url = "https://example.org/i.git" };`:                            `want ";"`,
		`settings = { url = "${base}/i.git"; };`:                                       "interpolation",
		`settings = { url = base; };`:                                                  `"base"`,
		`settings = { url = "https://example.org/i.git"; url = "https://a.org/b"; };`:  "twice",
		`services.other = { settings = { url = "https://example.org/i.git"; }; };`:     "no pullnode settings",
		`settings = { remotes = [ { url = "https://example.org/i.git"; nam = "a"; } ]`: `want ";"`,
	} {
		if err := checkSnippet(block); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v\nwant %s", block, err, say)
		}
	}
	good := `{
  # a comment
  services.pullnode = {
    enable = true;
    settings = {
      url = "https://example.org/i.git"; # and one more
      schedule.cron = [ "*/10 6-22 * * *" ];
      health = { successes = 2; checks."a b" = { type = "tcp"; required = false; }; };
    };
  };
}`
	if err := checkSnippet(good); err != nil {
		t.Error(err)
	}
}

// checkSnippet decodes the settings of a snippet as the program would. Only the
// two required settings are filled in, where the snippet is about others.
func checkSnippet(block string) error {
	p := &nixParser{rest: block}
	body, err := p.document()
	if err != nil {
		return err
	}
	at := body
	if services, ok := body["services"].(map[string]any); ok {
		at, _ = services["pullnode"].(map[string]any)
	}
	settings, ok := at["settings"].(map[string]any)
	if !ok {
		return errors.New("there are no pullnode settings in it")
	}
	_, url := settings["url"]
	if _, remotes := settings["remotes"]; !url && !remotes {
		settings["url"] = "https://git.example.org/infra.git"
	}
	if _, ok := settings["introduction"]; !ok {
		settings["introduction"] = strings.Repeat("0", 40) + "@SHA256:" + strings.Repeat("A", 43)
	}
	if _, ok := settings["hostName"]; !ok {
		settings["hostName"] = "web01" // else the machine's, which may be none
	}
	raw, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	_, err = Parse(raw)
	return err
}

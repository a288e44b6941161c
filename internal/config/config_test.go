package config

import (
	"strings"
	"testing"
)

const intro = `"introduction":"9edb3f66fd807b096b48283debdcddccfea34bad@SHA256:5ij6YYds7uXWxH79aI0Wabcdefghijklmnopqrstuv0"`

func TestDefaults(t *testing.T) {
	c, err := Parse([]byte(`{"hostName":"web01","url":"https://example.org/infra.git",` + intro + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Remotes[0].Name != "origin" || c.Branch != "main" || c.Operation != Switch {
		t.Errorf("%+v", c)
	}
	if got := c.Toplevel(); got != `nixosConfigurations."web01".config.system.build.toplevel` {
		t.Error(got)
	}
	if c.GuardTimeout() < c.Build.SwitchTimeout.D()+c.Health.Window.D() {
		t.Error("the guard is shorter than what it guards")
	}
}

// Every mistake names its field and, for a misspelt word, the nearest one.
func TestMistakes(t *testing.T) {
	for in, say := range map[string]string{
		`"ulr":"x"`:                                 `unknown setting "ulr", did you mean "url"?`,
		`"operation":"swich"`:                       `operation: unknown operation "swich", did you mean "switch"?`,
		`"schedule":{"interval":"5 min"}`:           `write it like "90s"`,
		`"schedule":{"interval":300}`:               `want a duration in quotes`,
		`"schedule":{"cron":["* * *"]}`:             `schedule.cron[0]:`,
		`"schedule":{"intervall":"5m"}`:             `did you mean "interval"?`,
		`"branch":"a..b"`:                           `branch: "a..b" is no branch name`,
		`"dir":"../x"`:                              `dir: "../x"`,
		`"remotes":[{"url":"git@host:x"}]`:          `remotes[0]:`,
		`"remotes":[{"url":"ssh://git@host/x"}]`:    `ssh needs auth.keyFile and auth.hostKey`,
		`"remotes":[{"url":"https://a:b@host/x"}]`:  `auth.tokenFile`,
		`"auth":{"tokenFile":"/nix/store/x"}`:       `in the Nix store`,
		`"remotes":7`:                               `remotes: want a list`,
		`"lifeline":{"targets":["example.org"]}`:    `lifeline.targets[0]: want host:port`,
		`"health":{"window":"5s","interval":"10s"}`: `health.window: 5s is too short`,
		`"health":{"allowRestarts":{"web":1}}`:      `health.allowRestarts: want the full name of a service`,
		`"keys":{"handoff":"fil"}`:                  `keys.handoff: unknown way "fil", did you mean "file"?`,
		`"revokedKeys":["x"]`:                       `revokedKeys[0]`,
		`"hostName":"a b"`:                          `hostName: "a b"`,
	} {
		_, err := Parse([]byte(`{"url":"https://example.org/i.git",` + intro + `,` + in + `}`))
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v\nwant %s", in, err, say)
		}
	}
	_, err := Parse([]byte(`{"branch":".."}`))
	for _, say := range []string{"url: is missing", "introduction: is missing", "branch:"} {
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("all mistakes at once: %v, want %s", err, say)
		}
	}
}

// What is no JSON at all is found by its line.
func TestNoJSON(t *testing.T) {
	for in, say := range map[string]string{
		"":                        "line 1: no JSON: the file ends in the middle of a value",
		"{\n\"url\":\"x\",\n":     "line 2: no JSON: the file ends in the middle of a value",
		"{\n\"url\":\n}\n":        "line 3: no JSON: invalid character '}'",
		"{\n\n\"url\" \"x\"}\n":   "line 3: no JSON: invalid character",
		"url = \"https://x/y\"\n": "line 1: no JSON: invalid character 'u'",
	} {
		if _, err := Parse([]byte(in)); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v\nwant %s", in, err, say)
		}
	}
}

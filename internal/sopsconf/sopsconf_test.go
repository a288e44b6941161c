package sopsconf_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pullnode/internal/sopsconf"
)

func TestParse(t *testing.T) {
	f := parse(t, anchors)
	for path, want := range map[string]int{"hosts/web01/secrets.yaml": 0, "secrets/a/b.json": 1, "hosts/web02/secrets.yaml": -1} {
		i, ok := f.Match(path)
		if !ok {
			i = -1
		}
		if i != want {
			t.Errorf("%s: rule %d, want %d", path, i, want)
		}
	}
	if got := f.Rules[0].Recipients(); !slices.Equal(got, []string{"age1alice", "age1web01"}) {
		t.Error(got)
	}
	if got := f.Names("age1web01"); !slices.Equal(got, []string{"web01", "in the cellar"}) {
		t.Error(got)
	}
	if r, ok := f.Resolve("alice"); !ok || r != "age1alice" {
		t.Error(r, ok)
	}
	if r, ok := f.Resolve("bob"); ok {
		t.Error(r)
	}
	if got := f.Recipients(); !slices.Equal(got, []string{"age1alice", "age1web01"}) {
		t.Error(got)
	}
}

// Of hostile and odd files each has an error of one line, and no panic.
func TestParseRefuses(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+", ", 10) + "]\n"
	}
	for name, c := range map[string]struct{ in, say string }{
		"no yaml":        {"a: [", "is not YAML"},
		"a list":         {"- a\n", "is not what sops reads"},
		"key twice":      {"creation_rules: []\ncreation_rules: []\n", "already defined"},
		"two documents":  {"a: b\n---\nc: d\n", "more than one YAML document"},
		"bomb":           {bomb, "is not what sops reads"},
		"self":           {"a: &a [*a]\n", "is not what sops reads"},
		"large":          {"a: " + strings.Repeat("x", 2<<20), "is over"},
		"rules are text": {"creation_rules: text\n", "line 1: creation_rules is not a list"},
		"rule is text":   {"creation_rules: [a]\n", "line 1: is no rule"},
		"regex":          {"creation_rules:\n  - path_regex: '('\n", "line 2: path_regex"},
		"regex is list":  {"creation_rules:\n  - path_regex: [a]\n", "line 2: path_regex is no text"},
		"age is map":     {"creation_rules:\n  - age: {a: b}\n", "line 2: age is neither text nor a list"},
		"list in list":   {"creation_rules:\n  - age: [[age1a]]\n", "sops takes no list in a list"},
		"not age":        {"creation_rules:\n  - age: hello\n", `line 2: "hello" is no age recipient`},
		"groups":         {"creation_rules:\n  - key_groups: [a]\n", "line 2: is not a group of keys"},
		"unknown alias":  {"creation_rules:\n  - age: *nobody\n", "is not YAML"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sopsconf.Parse([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v", err)
			}
		})
	}
	for _, in := range []string{"# nothing\n", "", "creation_rules:\n", "a: b\n"} {
		f, err := sopsconf.Parse([]byte(in))
		if err != nil || len(f.Rules) != 0 {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// No text makes it panic, and what it accepts has exactly the recipients asked for.
func FuzzEdit(f *testing.F) {
	own, err := os.ReadFile("../../.sops.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own))
	f.Add(anchors)
	f.Add("creation_rules:\n  - age: >-\n      age1a,\n      age1b\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := sopsconf.Parse([]byte(text))
		if err != nil || len(c.Rules) == 0 {
			return
		}
		if out, err := c.Add([]int{0}, "age1qqq", "web02"); err == nil {
			if again := parse(t, string(out)); !slices.Contains(again.Rules[0].Recipients(), "age1qqq") {
				t.Errorf("not added:\n%s", out)
			}
		}
		for _, r := range c.Recipients() {
			if out, err := c.Remove(r); err == nil && slices.Contains(parse(t, string(out)).Recipients(), r) {
				t.Errorf("%s is still in\n%s", r, out)
			}
		}
	})
}

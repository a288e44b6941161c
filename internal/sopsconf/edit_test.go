package sopsconf_test

import (
	"errors"
	"strings"
	"testing"

	"pullnode/internal/sopsconf"
)

func parse(t *testing.T, text string) *sopsconf.File {
	t.Helper()
	f, err := sopsconf.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return f
}

// The custom in repositories with sops-nix.
const anchors = `# Who opens what.
keys:
  # people
  - &alice age1alice
  - &web01 age1web01 # in the cellar

creation_rules:
  - path_regex: ^hosts/web01/secrets\.yaml$   # its own
    key_groups:
      - age: [*alice, *web01]

  # shared
  - path_regex: ^secrets/
    key_groups:
      - age:
          - *alice  # edits
          - *web01
        pgp:
          - 85D77543B3D624B63CEA9E6DBC17301B491B3F21
`

// An edit is what somebody would type who edits by hand: line by line, in the style
// of the lines around.
func TestEdits(t *testing.T) {
	add := func(rules ...int) func(*sopsconf.File) ([]byte, error) {
		return func(f *sopsconf.File) ([]byte, error) { return f.Add(rules, "age1new", "web02") }
	}
	beside := func(f *sopsconf.File) ([]byte, error) { return f.Beside("age1web01", "age1new", "web01") }
	remove := func(f *sopsconf.File) ([]byte, error) { return f.Remove("age1web01") }
	addRule := func(f *sopsconf.File) ([]byte, error) {
		return f.AddRule(`^hosts/web02/`, []string{"age1alice", "age1new"})
	}
	rule := func(age string) string {
		return "creation_rules:\n  - path_regex: x\n    age: " + age + "\n    encrypted_regex: ^a$\n"
	}
	for name, c := range map[string]struct {
		in   string
		edit func(*sopsconf.File) ([]byte, error)
		// replaced in the file: old, new, old, new ...
		change []string
	}{
		"add to flow": {anchors, add(0), []string{"# in the cellar\n", "# in the cellar\n  - &web02 age1new\n", "[*alice, *web01]", "[*alice, *web01, *web02]"}},
		"add to both": {anchors, add(0, 1), []string{"# in the cellar\n", "# in the cellar\n  - &web02 age1new\n", "[*alice, *web01]", "[*alice, *web01, *web02]",
			"          - *web01\n", "          - *web01\n          - *web02\n"}},
		"add twice": {strings.ReplaceAll(anchors, "age1web01", "age1new"), add(0, 1), nil},
		"beside": {anchors, beside, []string{"# in the cellar\n", "# in the cellar\n  - &web01_key2 age1new\n", "[*alice, *web01]", "[*alice, *web01, *web01_key2]",
			"          - *web01\n", "          - *web01\n          - *web01_key2\n"}},
		"beside in the middle": {strings.Replace(anchors, "[*alice, *web01]", "[*web01, *alice]", 1), beside, []string{"# in the cellar\n", "# in the cellar\n  - &web01_key2 age1new\n",
			"[*web01, *alice]", "[*web01, *web01_key2, *alice]", "          - *web01\n", "          - *web01\n          - *web01_key2\n"}},
		"remove":   {anchors, remove, []string{"  - &web01 age1web01 # in the cellar\n", "", "[*alice, *web01]", "[*alice]", "          - *web01\n", ""}},
		"add rule": {anchors, addRule, []string{"91B3F21\n", "91B3F21\n  - path_regex: ^hosts/web02/\n    key_groups:\n      - age:\n          - *alice\n          - age1new\n"}},
		"add rule of anchors": {anchors, func(f *sopsconf.File) ([]byte, error) { return f.AddRule("^b", []string{"age1alice", "age1web01"}) },
			[]string{"91B3F21\n", "91B3F21\n  - path_regex: ^b\n    key_groups:\n      - age: [*alice, *web01]\n"}},
		"add rule before what follows": {anchors + "\n# how files look\nstores:\n  yaml:\n    indent: 2\n", addRule,
			[]string{"91B3F21\n", "91B3F21\n  - path_regex: ^hosts/web02/\n    key_groups:\n      - age:\n          - *alice\n          - age1new\n"}},
		"add the first rule": {"# none yet\ncreation_rules: []\n", addRule,
			[]string{"creation_rules: []", "creation_rules:\n  - path_regex: ^hosts/web02/\n    key_groups:\n      - age:\n          - age1alice\n          - age1new"}},
		"add rules":          {"# none yet", addRule, []string{"# none yet", "# none yet\ncreation_rules:\n  - path_regex: ^hosts/web02/\n    key_groups:\n      - age:\n          - age1alice\n          - age1new\n"}},
		"no indent":          {"creation_rules:\n- path_regex: x\n  age: age1alice\n", addRule, []string{"age1alice\n", "age1alice\n- path_regex: ^hosts/web02/\n  key_groups:\n    - age:\n        - age1alice\n        - age1new\n"}},
		"plain text":         {rule("age1alice,age1web01"), add(0), []string{"age1web01", "age1web01,age1new"}},
		"with blanks":        {rule("age1alice, age1web01 # two"), add(0), []string{"age1web01", "age1web01, age1new"}},
		"one":                {rule(`"age1alice"`), add(0), []string{"age1alice", "age1alice,age1new"}},
		"single quotes":      {rule(`'age1web01,age1alice'`), beside, []string{"age1web01", "age1web01,age1new"}},
		"trailing comma":     {rule(`"age1alice, age1web01,"`), add(0), []string{"age1web01", "age1web01, age1new"}},
		"remove the first":   {rule("age1web01, age1alice"), remove, []string{"age1web01, ", ""}},
		"remove the last":    {rule(`"age1alice,age1web01"`), remove, []string{",age1web01", ""}},
		"block text":         {rule(">-\n      age1alice,\n      age1web01\n"), add(0), []string{"age1web01\n", "age1web01,\n      age1new\n"}},
		"block text of one":  {rule("|\n      age1alice\n"), add(0), []string{"age1alice\n", "age1alice,\n      age1new\n"}},
		"block text, first":  {rule(">-\n      age1web01,\n      age1alice\n"), remove, []string{"age1web01,\n      ", ""}},
		"block text, last":   {rule(">-\n      age1alice,\n      age1web01\n"), remove, []string{",\n      age1web01", ""}},
		"list":               {rule("\n      - age1alice # alice\n      - age1web01"), add(0), []string{"age1web01\n", "age1web01\n      - age1new # web02\n"}},
		"flow of lines":      {rule("[\n      age1alice, # alice\n      'age1web01',\n    ]"), add(0), []string{"'age1web01',", "'age1web01',\n      age1new,"}},
		"flow of lines, cut": {rule("[\n      age1alice, # alice\n      'age1web01'\n    ]"), remove, []string{"      'age1web01'\n", ""}},
		"no line end":        {"creation_rules:\n  - age:\n      - age1alice", add(0), []string{"age1alice", "age1alice\n      - age1new # web02"}},
		"crlf":               {strings.ReplaceAll(anchors, "\n", "\r\n"), remove, []string{"  - &web01 age1web01 # in the cellar\r\n", "", "[*alice, *web01]", "[*alice]", "          - *web01\r\n", ""}},
		"letters before":     {`creation_rules: [ { path_regex: "grüße", age: [ age1alice, age1web01 ] } ]`, remove, []string{", age1web01", ""}},
		"named by a key": {"keys:\n  people:\n    alice: &alice age1alice\n  hosts:\n    web01: &web01 age1web01\ncreation_rules:\n  - age: [*alice, *web01]\n", add(0),
			[]string{"&web01 age1web01\n", "&web01 age1web01\n    web02: &web02 age1new\n", "*web01]", "*web01, *web02]"}},
		"named by a key, cut": {"keys:\n  people:\n    alice: &alice age1alice\n  hosts:\n    web01: &web01 age1web01\ncreation_rules:\n  - age: [*alice, *web01]\n", remove,
			[]string{"    web01: &web01 age1web01\n", "", ", *web01]", "]"}},
		"anchors in the rule": {"creation_rules:\n  - path_regex: a\n    age: [&a age1alice, &w age1web01]\n  - age: [*w, *a]\n", remove,
			[]string{", &w age1web01]", "]", "[*w, *a]", "[*a]"}},
		"groups": {"creation_rules:\n  - key_groups:\n      - age: [age1alice, age1web01]\n      - age: [age1bob, age1web01]\n", remove,
			[]string{"age1alice, age1web01", "age1alice", "age1bob, age1web01", "age1bob"}},
		"shared list, both": {"all: &all [age1alice, age1web01]\ncreation_rules:\n  - path_regex: a\n    age: *all\n  - age: *all\n", add(0, 1), []string{"age1web01]", "age1web01, age1new]"}},
		"shared list, cut":  {"all: &all [age1alice, age1web01]\ncreation_rules:\n  - path_regex: a\n    age: *all\n  - age: *all\n", remove, []string{", age1web01]", "]"}},
		"merged rule":       {"base: &base\n  age: [age1alice, age1web01]\ncreation_rules:\n  - <<: *base\n    path_regex: a\n", remove, []string{", age1web01]", "]"}},
		"merged group":      {"creation_rules:\n  - key_groups:\n      - merge:\n          - age: [age1alice, age1web01]\n        pgp: [85D77543B3D624B63CEA9E6DBC17301B491B3F21]\n", remove, []string{", age1web01]", "]"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := c.in
			for i := 0; i < len(c.change); i += 2 {
				if !strings.Contains(want, c.change[i]) {
					t.Fatalf("the test's %q is not there", c.change[i])
				}
				want = strings.Replace(want, c.change[i], c.change[i+1], 1)
			}
			got, err := c.edit(parse(t, c.in))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// What is not understood is refused with the line and what to do.
func TestEditsRefused(t *testing.T) {
	for name, c := range map[string]struct{ in, say string }{
		"shared list":      {"all: &all [age1alice, age1bob]\ncreation_rules:\n  - path_regex: a\n    age: *all\n  - age: *all\n", "line 3: the rule shares its recipients with that of line 5"},
		"groups":           {"creation_rules:\n  - key_groups:\n      - age: [age1alice]\n      - age: [age1bob]\n", "line 2: the rule has 2 key groups: add age1new by hand"},
		"only pgp":         {"creation_rules:\n  - pgp: 85D77543B3D624B63CEA9E6DBC17301B491B3F21\n", "has no one list of age recipients"},
		"escapes":          {"creation_rules:\n  - age: \"age1alice,\\x61ge1bob\"\n", "is not edited here"},
		"folded by quotes": {"creation_rules:\n  - age: \"age1alice,\\\n    age1bob\"\n", "is not edited here"},
		"tagged":           {"creation_rules:\n  - age: !!str age1alice\n", "is not edited here"},
		"tagged item":      {"creation_rules:\n  - age: [ !!str age1alice ]\n", "is not edited here"},
		"odd dash":         {"creation_rules:\n  - age:\n      -\n        age1alice\n", "is not edited here"},
		"a lone return":    {"creation_rules:\n  - path_regex: \"a\"\r    age: [age1alice]\n", "is not edited here"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, c.in).Add([]int{0}, "age1new", "web02")
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
	for name, in := range map[string]string{
		"alone":            "creation_rules:\n  - age: age1web01\n",
		"alone in list":    "creation_rules:\n  - key_groups:\n      - age: [age1web01, age1web01]\n",
		"alone in a group": "creation_rules:\n  - key_groups:\n      - age: [age1web01]\n      - age: [age1alice]\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parse(t, in).Remove("age1web01"); !errors.Is(err, sopsconf.ErrEmpty) {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
	f := parse(t, "creation_rules:\n  - age: [age1alice]\n")
	if _, err := f.AddRule("^a$", []string{"age1alice"}); err == nil || !strings.Contains(err.Error(), "matches every file") {
		t.Error(err)
	}
	for _, r := range []string{"", "age1new, age1evil", "age1new\n  - x", "*alice", "age1NEW"} {
		if got, err := f.Add([]int{0}, r, "web02"); err == nil {
			t.Errorf("%q is taken:\n%s", r, got)
		}
	}
}

// What the edit would do elsewhere is seen by reading it again.
func TestEditsReadAgain(t *testing.T) {
	for name, c := range map[string]struct {
		in, say string
		edit    func(*sopsconf.File) ([]byte, error)
	}{
		"an alias outside of the rules": {"keys:\n  - &web01 age1web01\ncreation_rules:\n  - age: [*web01, age1alice]\nnote: *web01\n", "unknown anchor",
			func(f *sopsconf.File) ([]byte, error) { return f.Remove("age1web01") }},
		"a text that is part of another list": {"x: &x age1alice\ncreation_rules:\n  - path_regex: a\n    age: *x\n  - age: [*x, age1bob]\n", "would have other recipients",
			func(f *sopsconf.File) ([]byte, error) { return f.Add([]int{0}, "age1new", "web02") }},
		"an anchor that stands for more": {"keys:\n  - &both age1alice,age1web01\ncreation_rules:\n  - path_regex: a\n    age: [*both, age1bob]\n", "is not edited here",
			func(f *sopsconf.File) ([]byte, error) { return f.Remove("age1web01") }},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.edit(parse(t, c.in))
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

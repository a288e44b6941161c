package keysrc_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
)

func TestPreflight(t *testing.T) {
	id, other, third := newIdentity(t), newIdentity(t), newIdentity(t)
	me, you, they := id.Recipient().String(), other.Recipient().String(), third.Recipient().String()
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file  sopsFile
		state keysrc.State
		text  string
	}{
		"mine":                    {sopsFile{groups: [][]string{{me}}}, keysrc.OK, ""},
		"mine among others":       {sopsFile{groups: [][]string{{you, me, "pgp"}}}, keysrc.OK, ""},
		"not mine":                {sopsFile{groups: [][]string{{you, they}}}, keysrc.MissingRecipient, "it is for " + you + ", " + they},
		"not mine, post-quantum":  {sopsFile{groups: [][]string{{pq.Recipient().String()}}}, keysrc.MissingRecipient, "it is for age1pq1"},
		"only pgp":                {sopsFile{groups: [][]string{{"pgp"}}}, keysrc.MissingRecipient, "it is for pgp"},
		"2 of 3 groups, have 2":   {sopsFile{groups: [][]string{{me}, {you}, {they, me}}, threshold: 2}, keysrc.OK, ""},
		"2 of 3 groups, have 1":   {sopsFile{groups: [][]string{{me, me}, {you}, {they}}, threshold: 2}, keysrc.MissingRecipient, "opens 1 key groups, needs 2 of 3"},
		"no threshold means all":  {sopsFile{groups: [][]string{{me}, {you}}}, keysrc.MissingRecipient, "opens 1 key groups, needs 2 of 2"},
		"key of another length":   {sopsFile{groups: [][]string{{me}}, size: 16}, keysrc.Malformed, "has 16 bytes, want 32"},
		"key of a greater length": {sopsFile{groups: [][]string{{me}}, size: 64}, keysrc.Malformed, "is over 32 bytes"},
	} {
		for format, content := range formats(t, c.file) {
			t.Run(name+"/"+format, func(t *testing.T) {
				m, err := keysrc.ReadMeta("secrets/x", content)
				if err != nil {
					t.Fatalf("%v\n%s", err, content)
				}
				r := keysrc.Preflight([]age.Identity{id}, []keysrc.Meta{m})[0]
				if r.State != c.state || r.Name != "secrets/x" || !strings.Contains(r.String(), c.text) {
					t.Errorf("got %v (%s), want %s with %q", r, r.State, c.state, c.text)
				}
				err = keysrc.Judge([]string{me}, []keysrc.Result{r})
				if (err == nil) != (c.state == keysrc.OK) {
					t.Errorf("judged %v", err)
				}
			})
		}
	}
}

// A damaged file must never pass as "not a sops file", which is not looked at.
func TestTruncatedFilesAreMalformed(t *testing.T) {
	id := newIdentity(t)
	for format, content := range formats(t, sopsFile{groups: [][]string{{id.Recipient().String()}}}) {
		if format == "yaml, more documents" || format == "ini" {
			continue // cutting the rest off leaves a good file; lines in random order
		}
		start := bytes.Index(content, []byte("BEGIN AGE"))
		for cut := start + 30; cut < len(content); cut += 37 {
			m, err := keysrc.ReadMeta("f", content[:cut])
			if errors.Is(err, keysrc.ErrNotSOPS) {
				t.Errorf("%s cut at %d of %d: %v", format, cut, len(content), err)
			}
			// What is cut after the MAC is still enough to try the key.
			if err == nil && keysrc.Preflight([]age.Identity{id}, []keysrc.Meta{m})[0].State != keysrc.OK {
				t.Errorf("%s cut at %d reads as something else: %+v", format, cut, m)
			}
		}
	}
}

func TestNotSOPSAndMalformed(t *testing.T) {
	id := newIdentity(t)
	good := string(toYAML(sopsFile{groups: [][]string{{id.Recipient().String()}}}.tree(t), 4, 4))
	for name, c := range map[string]struct {
		content string
		notSOPS bool
		want    string
	}{
		"empty":              {"", true, ""},
		"text":               {"hello\n", true, ""},
		"binary":             {"\x00\x01{\xff", true, ""},
		"plain json":         {`{"a":1}`, true, ""},
		"json with settings": {`{"sops":{"enable":true}}`, true, ""},
		"broken json":        {`{"a":`, true, ""},
		"plain yaml":         {"a: 1\nb:\n  sops:\n    mac: x\n", true, ""},
		"settings in yaml":   {"sops:\n  defaultFile: &x a\n  keys: [a, b]\n", true, ""},
		".sops.yaml":         {"creation_rules:\n  - age: age1\n", true, ""},
		"no keys":            {`{"sops":{"mac":"x","lastmodified":"y","age":null}}`, false, "holds no keys"},
		"no mac":             {strings.ReplaceAll(good, "    mac: ", "    mc: "), false, "has no mac"},
		"no enc":             {`{"sops":{"mac":"x","lastmodified":"y","age":[{"recipient":"age1x"}]}}`, false, "age[0]: recipient age1x has no enc"},
		"age is text":        {`{"sops":{"mac":"x","lastmodified":"y","age":"age1"}}`, false, "age is not a list"},
		"escape sequence":    {`{"sops":{"mac":"x","lastmodified":"y","age":[{"recipient":"\u001b[2J","enc":"x"}]}}`, false, `"\x1b[2J" is not one`},
		"bad threshold":      {`{"sops":{"mac":"x","lastmodified":"y","shamir_threshold":3,"key_groups":[{},{}]}}`, false, "shamir_threshold is 3 of 2"},
		"tab":                {strings.Replace(good, "    mac:", "\tmac:", 1), false, "sops metadata, line"},
		"dedented":           {strings.Replace(good, "    mac:", "  mac:", 1), false, "indented less"},
		"twice":              {good + "    mac: y\n", false, `"mac" is there twice`},
		"anchor":             {strings.Replace(good, "mac: ENC", "mac: &a ENC", 1), false, "sops does not write"},
		"lost line":          {"sops_mac=x\nsops_lastmodified=y\nsops_age__list_1__map_enc=x\nsops_age__list_1__map_recipient=age1\n", false, "age has no entry 0"},
		"deep":               {"sops:\n lastmodified: x\n" + nest(40), false, "nested over 16"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keysrc.ReadMeta("f", []byte(c.content))
			if errors.Is(err, keysrc.ErrNotSOPS) != c.notSOPS || err == nil {
				t.Fatalf("error is %v", err)
			}
			if !c.notSOPS {
				wantErr(t, err, c.want)
			}
		})
	}
}

func nest(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i+1))
	}
	return b.String()
}

// Damaged armour: another key that opens is enough, as it is for sops.
func TestDamagedDataKey(t *testing.T) {
	id := newIdentity(t)
	tree := sopsFile{groups: [][]string{{id.Recipient().String(), id.Recipient().String()}}}.tree(t)
	list := tree["age"].([]any)
	break1 := func(i int) {
		e := list[i].(map[string]any)
		e["enc"] = strings.Replace(e["enc"].(string), "YWdl", "YWdm", 1)
	}
	state := func() keysrc.Result {
		m, err := keysrc.ReadMeta("f", toYAML(tree, 4, 4))
		if err != nil {
			t.Fatal(err)
		}
		return keysrc.Preflight([]age.Identity{id}, []keysrc.Meta{m})[0]
	}
	break1(0)
	if r := state(); r.State != keysrc.OK {
		t.Errorf("one damaged: %v", r)
	}
	break1(1)
	if r := state(); r.State != keysrc.Malformed || !strings.Contains(r.Detail, "data key for age1") {
		t.Errorf("both damaged: %v", r)
	}
}

// The age CLI, another program than the one under test, makes the data key.
func TestDataKeyOfAgeCLI(t *testing.T) {
	id := newIdentity(t)
	me := id.Recipient().String()
	tree := sopsFile{groups: [][]string{{me}}}.tree(t)
	tree["age"].([]any)[0].(map[string]any)["enc"] = string(ageCLI(t, strings.Repeat("k", 32), "-a", me))
	m, err := keysrc.ReadMeta("f", toDotenv(tree))
	if err != nil {
		t.Fatal(err)
	}
	if r := keysrc.Preflight([]age.Identity{id}, []keysrc.Meta{m})[0]; r.State != keysrc.OK {
		t.Error(r)
	}
}

func FuzzReadMeta(f *testing.F) {
	id, _ := age.GenerateX25519Identity()
	t := &testing.T{}
	for _, content := range formats(t, sopsFile{groups: [][]string{{id.Recipient().String()}, {"pgp"}}, threshold: 1}) {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := keysrc.ReadMeta("f", content)
		if err == nil && (len(m.Groups) == 0 || m.Threshold < 1 || m.Threshold > len(m.Groups)) {
			t.Errorf("accepted %+v", m)
		}
	})
}

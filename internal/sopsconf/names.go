package sopsconf

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Whole stands for the content of a file that sops encrypted as one value.
const Whole = "(the whole file)"

// SecretNames gives the names of the encrypted values of a SOPS file, such as
// "database.password", which sops leaves readable; of what is in a list, that of the
// list. It gives no value.
func SecretNames(content []byte) []string {
	var names []string
	add := func(path []string) {
		if name := strings.Join(path, "."); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var doc yaml.Node
	if !bytes.Contains(content, []byte("\nsops_mac=")) && yaml.Unmarshal(content, &doc) == nil && len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
		top := doc.Content[0]
		if len(top.Content) == 4 && top.Content[0].Value == "data" && top.Content[2].Value == "sops" && strings.HasPrefix(top.Content[1].Value, "ENC[") {
			return []string{Whole}
		}
		values(top, nil, add)
		return names
	}
	section := ""
	for line := range strings.Lines(string(content)) {
		if m := sectionRE.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		if m := pairRE.FindStringSubmatch(line); m != nil && section != "sops" && !strings.HasPrefix(m[1], "sops_") {
			if section != "" && section != "DEFAULT" {
				add([]string{section, m[1]})
			} else {
				add([]string{m[1]})
			}
		}
	}
	return names
}

var (
	sectionRE = regexp.MustCompile(`^\[(.+)\]\s*$`)
	pairRE    = regexp.MustCompile(`^([^#;\s=][^=]*?)\s*=\s*ENC\[`)
)

func values(n *yaml.Node, path []string, add func([]string)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; k != "sops" || len(path) > 0 {
				values(n.Content[i+1], append(slices.Clone(path), k), add)
			}
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			values(c, path, add)
		}
	case yaml.ScalarNode:
		if strings.HasPrefix(n.Value, "ENC[") {
			add(path)
		}
	}
}

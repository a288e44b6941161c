package sync

import (
	"bytes"
	"fmt"
	"testing"
)

// A server without any key can make up thousands of commits. Whatever they are,
// each costs the node one look: with a look at all before it each of these cases
// would take hours.
func TestMadeUpCommits(t *testing.T) {
	const n = 5000
	other := makeLine(t, 0, "stranger")
	many := "" // a policy that is slow to read
	for i := range 2000 {
		many += fmt.Sprintf("# %d\n", i)
	}
	for name, c := range map[string]struct {
		commit func(l *line, payload string) string
		want   VerdictName
	}{
		"unsigned":       {func(_ *line, p string) string { return p }, Unsigned},
		"bad signatures": {func(l *line, p string) string { return l.sign(t, p) + "x" }, Malformed},
		"strangers":      {func(_ *line, p string) string { return other.sign(t, p) }, UnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			l := makeLine(t, 0)
			list, listRec := rec(t, "blob", l.signers+many)
			entries, more := []string{modeFile, "allowed_signers", string(list)}, listRec
			for i := range 200 {
				b, r := rec(t, "blob", fmt.Sprint(i))
				entries, more = append(entries, modeFile, fmt.Sprintf("b%04d", i), string(b)), more+r
			}
			dir, dirRec := rec(t, "tree", treeOf(entries...))
			root, rootRec := rec(t, "tree", treeOf(modeTree, ".pullnode", string(dir)))
			var b bytes.Buffer
			parent := l.ids[0]
			for i := range n {
				id, r := rec(t, "commit", c.commit(l, fmt.Sprintf("tree %s\nparent %s\nauthor A <a@b> %d +0000\ncommitter A <a@b> %d +0000\n\nx\n", root, parent, i, i)))
				if b.WriteString(r); i == 0 {
					b.WriteString(rootRec + dirRec + more)
				}
				parent = id
			}
			raw := StreamHeader{Request: 1, Tip: string(parent)}.String() + l.records[0] + b.String()
			s, err := StreamReader{Want: Want{Request: 1, Trusted: string(l.intro.Commit), Ancestry: true}, Spool: &memory{}}.Read(bytes.NewReader([]byte(raw)))
			if err != nil {
				t.Fatal(err)
			}
			if _, v := (Policy{Introduction: l.intro, Host: "x"}).Judge(s); v.Name != c.want || v.Commit != s.order[0] {
				t.Errorf("got %s by %s, want %s by %s", v.Name, v.Commit, c.want, s.order[0])
			}
		})
	}
}

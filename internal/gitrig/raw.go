package gitrig

import (
	"os"
	"path/filepath"
	"strings"
)

// Raw gives a commit's bytes.
func (r *Repo) Raw(id string) string {
	r.tb.Helper()
	return r.run("", "git", "cat-file", "commit", id)
}

// Object stores bytes as an object of any kind, unchecked, and gives its id.
func (r *Repo) Object(kind, raw string) string {
	r.tb.Helper()
	return strings.TrimSpace(r.run(raw, "git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"))
}

// Payload takes the gpgsig header out of a commit's bytes.
func Payload(raw string) string {
	head, body, _ := strings.Cut(raw, "\n\n")
	var kept []string
	in := false
	for _, l := range strings.Split(head, "\n") {
		if in = strings.HasPrefix(l, "gpgsig ") || in && strings.HasPrefix(l, " "); !in {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n") + "\n\n" + body
}

// Armor signs bytes with an SSH key in a namespace, as ssh-keygen does it.
func (r *Repo) Armor(payload, key, namespace string) string {
	r.tb.Helper()
	file := filepath.Join(r.tb.TempDir(), "payload")
	if err := os.WriteFile(file, []byte(payload), 0o600); err != nil {
		r.tb.Fatal(err)
	}
	r.run("", "ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", r.Key(key), file)
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		r.tb.Fatal(err)
	}
	return string(sig)
}

// WithSignature puts an armored signature into a commit's bytes, as its last
// header.
func WithSignature(payload, armored string) string {
	head, body, _ := strings.Cut(payload, "\n\n")
	return head + "\ngpgsig " + strings.ReplaceAll(strings.TrimSuffix(armored, "\n"), "\n", "\n ") + "\n\n" + body
}

// Tree stores a tree whose entries are "<mode> <type> <id>\t<name>" lines, as git
// ls-tree prints them, on top of what HEAD has, and gives a commit of it that is
// signed by key and checked out nowhere.
func (r *Repo) Tree(key string, entries ...string) string {
	r.tb.Helper()
	old := r.run("", "git", "ls-tree", "HEAD")
	tree := strings.TrimSpace(r.run(old+strings.Join(entries, "\n")+"\n", "git", "mktree", "--missing"))
	return r.CommitTree(key, tree, r.Head())
}

// CommitTree makes a commit of a tree, signed by key, beside work tree and
// branches.
func (r *Repo) CommitTree(key, tree string, parents ...string) string {
	r.tb.Helper()
	args := append(r.signing(key), "commit-tree", "-m", "a tree")
	if key != "" {
		args = append(args, "-S")
	}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	return r.Git(append(args, tree)...)
}

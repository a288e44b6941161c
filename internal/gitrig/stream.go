package gitrig

import (
	"bytes"
	"fmt"
	"strings"

	"pullnode/sync"
)

// Stream writes the object stream that answers want for the tip, by git's
// plumbing.
func (r *Repo) Stream(want sync.Want, tip string) []byte {
	r.tb.Helper()
	w := &streamWriter{r: r, done: map[string]bool{}}
	w.out.WriteString(sync.StreamHeader{Request: want.Request, Tip: tip}.String())
	history := strings.Fields(r.Git("rev-list", "--topo-order", "--reverse", tip))
	stop := []string{}
	if contains(history, want.Trusted) {
		if want.Ancestry {
			for _, id := range strings.Fields(r.Git("rev-list", "--topo-order", "--reverse", want.Trusted)) {
				if id != want.Trusted {
					w.object(id)
				}
			}
		}
		w.commit(want.Trusted)
		stop = append(stop, want.Trusted)
	} else {
		for _, p := range want.TrustedParents {
			if contains(history, p) {
				stop = append(stop, p)
			}
		}
	}
	args := append([]string{"rev-list", "--topo-order", "--reverse", tip, "--not"}, stop...)
	for _, id := range strings.Fields(r.Git(args...)) {
		w.commit(id)
	}
	if w.done[tip] {
		w.below(r.Git("rev-parse", tip+"^{tree}"))
	}
	return w.out.Bytes()
}

type streamWriter struct {
	r    *Repo
	out  bytes.Buffer
	done map[string]bool
}

func (w *streamWriter) object(id string) {
	if w.done[id] {
		return
	}
	w.done[id] = true
	w.out.WriteString(w.r.run(id+"\n", "git", "cat-file", "--batch"))
}

func (w *streamWriter) commit(id string) {
	w.object(id)
	w.object(w.r.Git("rev-parse", id+"^{tree}"))
	if line := w.r.Git("ls-tree", id, sync.PolicyDir); strings.HasPrefix(line, "040000 ") {
		w.below(strings.Fields(line)[2])
	}
}

func (w *streamWriter) below(tree string) {
	w.object(tree)
	for _, line := range strings.Split(w.r.Git("ls-tree", tree), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		switch f[1] {
		case "tree":
			w.below(f[2])
		case "blob":
			w.object(f[2])
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Tamper replaces a record's bytes inside a stream, for tests of hostile
// answers. It fails the test when old does not occur.
func Tamper(stream []byte, old, new string) []byte {
	if !bytes.Contains(stream, []byte(old)) {
		panic(fmt.Sprintf("gitrig: %q is not in the stream", old))
	}
	return bytes.Replace(stream, []byte(old), []byte(new), 1)
}

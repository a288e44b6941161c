package sync

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Trees in trees, each as large as it may be, end before they are in memory: no
// signature was looked at yet.
func TestWideTreesInTrees(t *testing.T) {
	file, fileRec := rec(t, "blob", "")
	id, records := ID(""), ""
	for range 3 {
		var entries []string
		for i := range 60 {
			entries = append(entries, modeFile, fmt.Sprintf("%03d", i), string(file))
		}
		if id != "" {
			entries = append(entries, modeTree, "z", string(id))
		}
		next, r := rec(t, "tree", treeOf(entries...))
		id, records = next, r+map[bool]string{true: fileRec}[records == ""]+records
	}
	// A tree comes before what is below it, and the file once, where it is met first.
	records = strings.Replace(records, fileRec, "", 1)
	head, _, _ := strings.Cut(records, "\n")
	tip, tipRec := rec(t, "commit", "tree "+string(id)+"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n")
	var size int
	fmt.Sscanf(head[len(id)+len(" tree "):], "%d", &size)
	cut := len(head) + 1 + size + 1
	raw := StreamHeader{Request: 1, Tip: string(tip)}.String() + tipRec + records[:cut] + fileRec + records[cut:]
	for files, want := range map[int]VerdictName{200: "", 100: Limit} {
		_, err := StreamReader{Want: Want{Request: 1}, Limits: Limits{Files: files}, Spool: &memory{}}.Read(bytes.NewReader([]byte(raw)))
		if v, _ := StreamVerdict(err); v.Name != want {
			t.Errorf("%d files: %v, want %q", files, err, want)
		}
	}
	big, bigRec := rec(t, "tree", strings.Repeat("x", maxTree+1))
	tip, tipRec = rec(t, "commit", "tree "+string(big)+"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n")
	_, err := StreamReader{Want: Want{Request: 1}, Spool: &memory{}}.Read(strings.NewReader(StreamHeader{Request: 1, Tip: string(tip)}.String() + tipRec + bigRec))
	if v, _ := StreamVerdict(err); v.Name != Limit {
		t.Errorf("a tree of %d bytes: %v", maxTree+1, err)
	}
}

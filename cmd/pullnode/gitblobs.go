package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

// entry is a file of a tree or of the index: its path, and the id of its content.
type entry struct{ name, id string }

// entries reads what `git ls-tree -r -z` and `git ls-files -s -z` print. Submodules
// have no content here and are left out; verify refuses them by name.
func entries(list string) (all []entry) {
	for line := range strings.SplitSeq(list, "\x00") {
		meta, name, _ := strings.Cut(line, "\t")
		f := strings.Fields(meta) // mode, type, id, or mode, id, stage
		if len(f) != 3 || f[0] == "160000" {
			continue
		}
		id := f[2]
		if f[1] != "blob" {
			id = f[1]
		}
		all = append(all, entry{name, id})
	}
	return all
}

// eachBlob calls see with the content of each entry, in one process of git.
func eachBlob(ctx context.Context, dir string, all []entry, see func(name string, raw []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := gitCommand(ctx, dir, nil, "cat-file", "--batch")
	var ids strings.Builder
	for _, e := range all {
		ids.WriteString(e.id + "\n")
	}
	cmd.Stdin, cmd.Stderr = strings.NewReader(ids.String()), os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it ends by itself, or is not wanted any more
	out := bufio.NewReader(pipe)
	for _, e := range all {
		raw, err := nextBlob(out)
		if err != nil {
			return fmt.Errorf("git cat-file: %s: %w", safe(e.name), err)
		}
		if err := see(e.name, raw); err != nil {
			return err
		}
	}
	return nil
}

// nextBlob reads "<id> <type> <size>\n", size bytes and "\n".
func nextBlob(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	var id, kind string
	var size int
	if _, err := fmt.Sscanf(head, "%s %s %d", &id, &kind, &size); err != nil {
		return nil, fmt.Errorf("the clone does not have its content: %s", strings.TrimSpace(head))
	}
	raw := make([]byte, size+1)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	return raw[:size], nil
}

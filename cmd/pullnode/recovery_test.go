package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pullnode/internal/agent"
)

// docRow is one row of a table in docs/recovery.md, without backticks.
type docRow struct{ what, shows, todo, self string }

// docTable reads the table below a heading. Its columns are found by their names.
func docTable(t *testing.T, heading string) map[string]docRow {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "recovery.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(raw), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/recovery.md has no %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	rows, columns := map[string]docRow{}, map[string]int{}
	for l := range strings.Lines(part) {
		if !strings.HasPrefix(l, "|") || strings.HasPrefix(l, "|--") {
			continue
		}
		f := strings.Split(strings.Trim(strings.TrimSpace(strings.ReplaceAll(l, "`", "")), "|"), "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(columns) == 0 {
			for i, name := range f {
				columns[name] = i
			}
			continue
		}
		row := docRow{what: f[columns["what happened"]], shows: f[columns["status shows"]], todo: f[columns["what to do"]]}
		if i, ok := columns["by itself"]; ok {
			row.self = f[i]
		}
		rows[row.what] = row
	}
	return rows
}

// like says whether text is the documented one, in which … stands for anything.
func like(text, documented string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(documented), "…", ".*")
	ok, _ := regexp.MatchString("^"+pattern+"$", text)
	return ok && documented != ""
}

// seen is what status prints in a row, and below all rows what to do.
func seen(s agent.Status, row string) (text, todo string) {
	var b bytes.Buffer
	printStatus(&b, s, s.Written, true)
	above, below, _ := strings.Cut(b.String(), "\n\n")
	for l := range strings.Lines(above) {
		if rest, ok := strings.CutPrefix(l, "  "+row); ok && text == "" {
			text = strings.TrimSpace(rest)
		}
	}
	return strings.TrimSpace(strings.TrimSuffix(text, times(1))), strings.TrimSpace(below)
}

// everyRow runs a fault for each row of a table, and fails when either is missing.
func everyRow(t *testing.T, heading string, faults map[string]func(t *testing.T, row docRow)) {
	t.Helper()
	rows := docTable(t, heading)
	for what := range faults {
		if _, ok := rows[what]; !ok {
			t.Errorf("docs/recovery.md has no row %q below %q", what, heading)
		}
	}
	for what, row := range rows {
		if fault := faults[what]; fault == nil {
			t.Errorf("the row %q of docs/recovery.md is not tested", what)
		} else {
			t.Run(what, func(t *testing.T) { fault(t, row) })
		}
	}
}

// refetch lets the node fetch with other settings.
func (h *host) refetch(change func()) {
	h.t.Helper()
	change()
	f, _, err := inProcess(h.a.Config, h.root, h.a.Dirs, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.a.Fetcher = f
}

// tmpfs mounts a small file system of its own.
func tmpfs(t *testing.T, dir, size string) (unmount func()) {
	t.Helper()
	mustDo(t, os.MkdirAll(dir, 0o700))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs (the tests run as root): %v", err)
	}
	unmount = func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}

// Every row of the table of docs/recovery.md about remotes, on a node for which a
// commit waits to be fetched: status has the documented line and what to do, the
// node keeps what it has, and goes on by itself when the fault is gone.
func TestRecoveryOfTheRemote(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	everyRow(t, "The remote", faultsOfTheRemote(h, func(t *testing.T, row docRow, least time.Duration, hurt func(), heal func()) {
		// The same system under another commit: to fetch is what is tested.
		has := h.r.Head()
		h.r.Write("README", row.what)
		next := h.r.Commit("alice", row.what)
		hurt()
		wait, err := h.a.Cycle(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		s := h.readStatus()
		h.want(s, "in-sync", "healthy", "one")
		text, todo := seen(s, "remote")
		if !like(text, row.shows) || !strings.Contains(todo, row.todo) {
			t.Errorf("status shows %q and %q\ndocs/recovery.md says %q and %q", text, todo, row.shows, row.todo)
		}
		if wait < least {
			t.Errorf("asked again after %v, the server said %v", wait, least)
		}
		if s.Running == nil || s.Running.ID != has {
			t.Errorf("runs %+v, want %s", s.Running, has)
		}
		heal()
		if s = h.cycle(); s.Failure != nil || s.Running.ID != next {
			t.Errorf("afterwards: %+v, runs %s", s.Failure, s.Running.ID)
		}
		h.want(s, "in-sync", "healthy", "one")
		t.Logf("%s", text)
	}))
}

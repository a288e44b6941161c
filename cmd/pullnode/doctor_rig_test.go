package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var pathBefore = os.Getenv("PATH")

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	mustDo(t, os.WriteFile(path, []byte(text), 0o600))
}

// swap puts another content into a file below the node's directory.
func swap(t *testing.T, h *host, name, text string) func(*doctor) func() {
	return func(*doctor) func() {
		path := filepath.Join(h.root, name)
		was, err := os.ReadFile(path)
		mustDo(t, err)
		write(t, path, text)
		return func() { write(t, path, string(was)) }
	}
}

// settings looks with other settings.
func settings(t *testing.T, h *host, change func(map[string]any)) func(*doctor) func() {
	return func(d *doctor) func() {
		raw, err := os.ReadFile(h.conf)
		mustDo(t, err)
		all := map[string]any{}
		mustDo(t, json.Unmarshal(raw, &all))
		change(all)
		raw, err = json.Marshal(all)
		mustDo(t, err)
		d.path = filepath.Join(t.TempDir(), "pullnode.json")
		write(t, d.path, string(raw))
		return nil
	}
}

// withChecks looks with these health checks.
func withChecks(t *testing.T, h *host, checks map[string]any) func(*doctor) func() {
	return settings(t, h, func(all map[string]any) { all["health"] = map[string]any{"checks": checks} })
}

func nixConf(line string) func(*doctor) func() {
	return func(d *doctor) func() {
		last := len(d.nixEnv) - 1
		d.nixEnv[last] += "\n" + line
		return nil
	}
}

func free(st unix.Statfs_t) func(*doctor) func() {
	return func(d *doctor) func() {
		d.statfs = func(string) (unix.Statfs_t, error) { return st, nil }
		return nil
	}
}

// fakeNix puts a program in nix's place.
func fakeNix(t *testing.T, script string) func() {
	dir := t.TempDir()
	mustDo(t, os.WriteFile(filepath.Join(dir, "nix"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	os.Setenv("PATH", dir+":"+pathBefore)
	return func() { os.Setenv("PATH", pathBefore) }
}

var mibRE = regexp.MustCompile(`has \d+ MiB`)

// What people see of doctor, on a host that is well and on one that is not.
func TestDoctorGolden(t *testing.T) {
	h := newHost(t, nil)
	h.want(h.cycle(), "in-sync", "healthy", "one")
	scrub := func(s string) string {
		s = strings.NewReplacer(h.root, "ROOT", h.conf, "pullnode.json", h.a.Config.Remotes[0].URL, "URL", short(h.r.Head()), "COMMIT").Replace(s)
		s = regexp.MustCompile(`[0-9a-z]{32}-nixos`).ReplaceAllString(s, "HASH-nixos")
		s = regexp.MustCompile(`nix \(Nix\) \S+`).ReplaceAllString(s, "nix (Nix) VERSION")
		s = regexp.MustCompile(`(?m)^clock .*(\n {14}.*)?`).ReplaceAllString(s, "clock    as it is")
		return mibRE.ReplaceAllString(s, "has N MiB")
	}
	got := scrub(typed("doctor", "--config", h.conf, "--root", h.root))
	h.down = true
	h.a.Store.Close()
	got += scrub(typed("doctor", "--config", h.conf, "--root", h.root))
	golden(t, "doctor", regexp.MustCompile(`\d+ warnings?`).ReplaceAllString(got, "N warnings"))
}

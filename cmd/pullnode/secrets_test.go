package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"pullnode/activate"
	"pullnode/activate/plain"
	"pullnode/internal/state"
	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
	"pullnode/sync"
)

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A secret that does not open refuses the commit before anything is touched; a
// key that cannot be had only puts it off.
func TestSecretsMustOpen(t *testing.T) {
	mine, other := newIdentity(t), newIdentity(t)
	key := filepath.Join(t.TempDir(), "host.age")
	put := func() {
		if err := os.WriteFile(key, []byte(mine.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put()
	h := newHost(t, map[string]any{"keys": map[string]any{"sources": []any{map[string]any{"type": "file", "path": key}}, "files": []string{"shared/wifi.json"}}})
	last := func() state.Entry {
		t.Helper()
		list, err := h.a.Store.History(1)
		if err != nil || len(list) != 1 {
			t.Fatalf("history: %v, %v", list, err)
		}
		return list[0]
	}
	open := keysrctest.SOPS(t, other.Recipient().String(), mine.Recipient().String())
	h.r.Write("secrets/demo.json", open)
	h.r.Write("shared/wifi.json", open)
	h.page("two\n")
	h.r.Commit("alice", "secrets that open")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.r.Write("shared/wifi.json", keysrctest.SOPS(t, other.Recipient().String()))
	h.page("three\n")
	h.r.Commit("alice", "a secret for somebody else")
	s := h.cycle()
	h.want(s, "failed", "healthy", "two")
	e := last()
	for _, say := range []string{"shared/wifi.json: is not encrypted for this host", other.Recipient().String(), "this host's key (" + mine.Recipient().String()} {
		if e.Result != state.ResultRefused || !strings.Contains(e.Why, say) {
			t.Errorf("%s: %s\nwant refused: %s", e.Result, e.Why, say)
		}
	}
	if strings.Contains(e.Why, "secrets/demo.json") || !strings.Contains(s.Hint, "updatekeys") {
		t.Errorf("why %q, hint %q", e.Why, s.Hint)
	}

	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	h.r.Write("shared/wifi.json", open)
	h.r.Commit("alice", "the same system with the right secret")
	h.want(h.cycle(), "failed", "healthy", "two")
	if e := last(); e.Result != state.ResultFailed || !strings.Contains(e.Why, "cannot be told now") || !strings.Contains(e.Why, "file:"+key) {
		t.Errorf("without the key: %s: %s", e.Result, e.Why)
	}
	put()
	for end := time.Now().Add(time.Minute); h.cycle().Sync != "in-sync"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not tried again")
		}
	}
	h.want(h.cycle(), "in-sync", "healthy", "three")
}

// A file that only the built system's sops-nix names, from anywhere in the tree, must
// open too.
func TestSecretsOfTheBuiltSystem(t *testing.T) {
	mine, other := newIdentity(t), newIdentity(t)
	key := filepath.Join(t.TempDir(), "host.age")
	if err := os.WriteFile(key, []byte(mine.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, map[string]any{"keys": map[string]any{"sources": []any{map[string]any{"type": "file", "path": key}}}})
	edit := func(name, old, to string) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(h.r.Dir, name))
		if err != nil || !strings.Contains(string(raw), old) {
			t.Fatalf("%s has no %q: %v", name, old, err)
		}
		h.r.Write(name, strings.Replace(string(raw), old, to, 1))
	}
	edit("flake.nix", "site = ./site;", `site = ./site;
      manifest = builtins.toFile "manifest.json" (builtins.toJSON {
        secretsMountPoint = "/run/secrets.d";
        secrets = [ { name = "wifi"; sopsFile = "${./common/wifi.json}"; } ];
      });`)
	raw, err := os.ReadFile(filepath.Join(h.r.Dir, "build.sh"))
	if err != nil {
		t.Fatal(err)
	}
	h.r.Write("build.sh", string(raw)+"\necho \"$manifest\" > $out/uses\n")
	h.r.Write("common/wifi.json", keysrctest.SOPSWith(t, map[string]string{"psk": "a common secret"}, mine.Recipient().String()))
	h.page("two\n")
	h.r.Commit("alice", "a secret that opens")
	h.want(h.cycle(), "in-sync", "healthy", "two")

	h.page("three, a common secret\n")
	h.r.Commit("alice", "its value in the page")
	s := h.cycle()
	h.want(s, "failed", "healthy", "two")
	if why := strings.Join(s.Why, "\n"); !strings.Contains(why, `: the value "psk" of /`) {
		t.Errorf("why is %q", why)
	}

	h.r.Write("common/wifi.json", keysrctest.SOPS(t, other.Recipient().String()))
	h.page("four\n")
	h.r.Commit("alice", "a secret for somebody else")
	s = h.cycle()
	h.want(s, "failed", "healthy", "two")
	if why := strings.Join(s.Why, "\n"); !strings.Contains(why, "wifi.json: is not encrypted for this host") {
		t.Errorf("why is %q", why)
	}
}

// With dir the host's folder is below it.
func TestSecretsBelowDir(t *testing.T) {
	h := newHost(t, nil)
	h.cycle()
	sys := h.a.System.(*plain.System)
	facts, err := sys.Facts(t.Context())
	if err != nil || facts.Running == "" {
		t.Fatal(facts, err)
	}
	tree := t.TempDir()
	file := filepath.Join(tree, "infra", "secrets", "demo.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	mine, other := newIdentity(t), newIdentity(t)
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, mine.String())
	source := json.RawMessage(fmt.Sprintf(`{"type":"file","path":%q}`, key))
	chain, err := keysrc.OpenAll([]json.RawMessage{source})
	if err != nil {
		t.Fatal(err)
	}
	c := *h.a.Config
	c.Dir, c.Keys.Sources = "infra", []json.RawMessage{source}
	check := func(recipient string) error {
		write(t, file, keysrctest.SOPS(t, recipient))
		return newSecretGuard(&c, sys, sys.Store(), chain, slog.New(slog.DiscardHandler), t.TempDir()).check(t.Context(), sync.Verified{}, activate.Candidate{Source: activate.StorePath(tree), Out: facts.Running})
	}
	if err := check(mine.Recipient().String()); err != nil {
		t.Error(err)
	}
	if err := check(other.Recipient().String()); err == nil || !strings.Contains(err.Error(), "secrets/demo.json: is not encrypted for this host") {
		t.Errorf("a secret for somebody else: %v", err)
	}
}

// Without a source no secret is asked about: such a host has its key elsewhere.
func TestWithoutSourcesNothingIsAsked(t *testing.T) {
	h := newHost(t, nil)
	h.r.Write("secrets/demo.json", keysrctest.SOPS(t, newIdentity(t).Recipient().String()))
	h.page("two\n")
	h.r.Commit("alice", "a secret")
	h.want(h.cycle(), "in-sync", "healthy", "two")
}

// A private key in the tree, or of this host in what is built, refuses the commit;
// so does a decrypted value.
func TestLeakGuard(t *testing.T) {
	mine, other := newIdentity(t), newIdentity(t)
	key := filepath.Join(t.TempDir(), "host.age")
	if err := os.WriteFile(key, []byte(mine.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, map[string]any{"keys": map[string]any{"sources": []any{map[string]any{"type": "file", "path": key}}}})
	const password = "correct horse battery"
	h.r.Write("secrets/demo.json", keysrctest.SOPSWith(t, map[string]string{"password": password, "pin": "1234"}, mine.Recipient().String()))
	h.page("two\n")
	h.r.Commit("alice", "secrets")
	h.want(h.cycle(), "in-sync", "healthy", "two")
	build, err := os.ReadFile(filepath.Join(h.r.Dir, "build.sh"))
	if err != nil {
		t.Fatal(err)
	}
	// In pieces, so that no file of the tree has it.
	built := func(text string) {
		h.r.Write("build.sh", string(build)+"\nprintf '%s%s' '"+text[:9]+"' '"+text[9:]+"' > $out/leak.txt\n")
	}
	refused := func(page, what, want string) {
		t.Helper()
		h.page(page + "\n")
		h.r.Commit("alice", what)
		s := h.cycle()
		h.want(s, "failed", "healthy", "two")
		why := strings.Join(s.Why, "\n")
		if !strings.Contains(why, want) || strings.Contains(why, "SECRET-KEY") || strings.Contains(why, "horse") {
			t.Errorf("%s: why is %q", what, why)
		}
	}
	h.r.Write("notes/key.txt", "for later: "+other.String()+"\n")
	refused("three", "a key in the tree", "notes/key.txt: the age identity of "+other.Recipient().String())
	h.r.Write("notes/key.txt", "for later: "+password+"\n")
	refused("four", "a value in the tree", `notes/key.txt: the value "password" of secrets/demo.json`)
	os.Remove(filepath.Join(h.r.Dir, "notes/key.txt"))
	built(mine.String())
	refused("five", "a key in the system", "/leak.txt: the age identity of "+mine.Recipient().String())
	built(password)
	refused("six", "a value in the system", `/leak.txt: the value "password" of secrets/demo.json`)

	h.r.Write("build.sh", string(build))
	flake, err := os.ReadFile(filepath.Join(h.r.Dir, "flake.nix"))
	if err != nil {
		t.Fatal(err)
	}
	h.r.Write("flake.nix", strings.Replace(string(flake), "site = ./site;", `site = ./site; unused = "correct horse" + " battery";`, 1))
	refused("seven", "a value in a derivation", `-nixos-system-demo.drv: the value "password" of secrets/demo.json`)
	h.r.Write("flake.nix", string(flake))
	h.page("1234 is too short to be looked for\n")
	h.r.Commit("alice", "no leak")
	h.want(h.cycle(), "in-sync", "healthy", "1234 is too short to be looked for")
}

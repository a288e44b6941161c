package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"pullnode/internal/config"
	"pullnode/internal/gitrig"
	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

// keyRepo is a private repository and the fetching process that the git source
// asks.
type keyRepo struct {
	t      *testing.T
	r      *gitrig.Repo
	source map[string]any
	stop   func() // ends the fetching process
}

func newKeyRepo(t *testing.T) *keyRepo {
	t.Helper()
	k := &keyRepo{t: t, r: gitrig.New(t)}
	k.r.Write("README", "one host, one file\n")
	k.source = map[string]any{"type": "git", "file": "keys/web.age", "socket": filepath.Join(t.TempDir(), "s")}
	k.r.Commit("", "begin")
	k.source["url"] = k.r.Dir
	k.listen()
	return k
}

// overSSH puts a real SSH server before the repository.
func (k *keyRepo) overSSH() {
	t := k.t
	t.Helper()
	addr := k.r.SSHD("")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	k.source["url"] = "ssh://" + me.Username + "@" + addr + k.r.Dir
	k.source["keyFile"], k.source["hostKey"] = k.r.Key("deploy"), k.public("host")
}

func (k *keyRepo) public(name string) string {
	pub, err := os.ReadFile(k.r.Key(name) + ".pub")
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.TrimSpace(string(pub))
}

// listen answers as systemd does with Accept=yes.
func (k *keyRepo) listen() {
	k.t.Helper()
	l, err := keysrc.Listen(k.source["socket"].(string))
	if err != nil {
		k.t.Fatal(err)
	}
	k.stop = sync.OnceFunc(func() { l.Close() })
	k.t.Cleanup(k.stop)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go k.serve(conn)
		}
	}()
}

func (k *keyRepo) serve(conn net.Conn) {
	defer conn.Close()
	raw, err := json.Marshal(k.source)
	if err != nil {
		k.t.Error(err)
	}
	c := &config.Config{Keys: config.Keys{Sources: []json.RawMessage{raw}}}
	c.Fetch.MaxPack, c.Fetch.Timeout = 16<<20, config.Duration(60e9)
	if err := serveKeyfetch(k.t.Context(), c, conn, k.t.TempDir()); err != nil && k.t.Context().Err() == nil {
		k.t.Log("keyfetch:", err)
	}
}

func (k *keyRepo) put(content []byte) {
	k.r.Write("keys/web.age", string(content))
	k.r.Commit("", "key")
}

func (k *keyRepo) open(t *testing.T) keysrc.Source {
	t.Helper()
	raw, err := json.Marshal(k.source)
	if err != nil {
		t.Fatal(err)
	}
	c, err := keysrc.OpenAll([]json.RawMessage{raw})
	if err != nil {
		t.Fatal(err)
	}
	return c.Sources[0]
}

// wrapped gives an SSH host key and the identity sealed for it.
func wrapped(t *testing.T, r *gitrig.Repo, plain []byte) (hostKey string, sealed []byte) {
	t.Helper()
	hostKey = r.Key("machine")
	raw, _ := json.Marshal(map[string]any{"type": "ssh-host-key", "path": hostKey})
	c, err := keysrc.OpenAll([]json.RawMessage{raw})
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return hostKey, sealFor(t, k.Recipient(), plain)
}

func sealFor(t *testing.T, recipient string, plain []byte) []byte {
	t.Helper()
	to, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The suite, with the file sealed for the host's SSH key, as it is meant to be
// used. TestGitSourceOverSSH has the way there.
func TestGitSource(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keyDir := gitrig.New(t)
	hostKey, sealed := wrapped(t, keyDir, []byte(id.String()+"\n"))
	k, down := newKeyRepo(t), false
	k.source["unlock"] = "ssh-host-key:" + hostKey
	keysrctest.Run(t, keysrctest.Case{
		Open: func(t *testing.T) keysrc.Source {
			k.put(sealed)
			return k.open(t)
		},
		Remove: func(*testing.T) { k.stop(); down = true },
		Put: func(_ *testing.T, content []byte) {
			if down {
				k.listen()
				down = false
			}
			k.put(content)
		},
		Content: sealed, Recipient: id.Recipient().String(), Secrets: []string{id.String(), id.String()[20:]},
	})
}

func TestGitSourceRefuses(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(id.String() + "\n")
	keyDir := gitrig.New(t)
	hostKey, sealed := wrapped(t, keyDir, text)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	k := newKeyRepo(t)
	k.source["unlock"] = "ssh-host-key:" + hostKey
	k.put(sealed)
	good, begin := maps.Clone(k.source), k.r.Head()
	for name, c := range map[string]struct {
		change func(t *testing.T, k *keyRepo)
		want   string
	}{
		"no such file": {func(_ *testing.T, k *keyRepo) { k.r.Git("mv", "keys/web.age", "keys/db.age"); k.r.Commit("", "move") }, "has no file keys/web.age"},
		"a link": {func(t *testing.T, k *keyRepo) {
			os.Remove(filepath.Join(k.r.Dir, "keys/web.age"))
			if err := os.Symlink("/etc/shadow", filepath.Join(k.r.Dir, "keys/web.age")); err != nil {
				t.Fatal(err)
			}
			k.r.Commit("", "link")
		}, "is no regular file"},
		"plain text":        {func(_ *testing.T, k *keyRepo) { k.put(text) }, "is not encrypted with age for ssh-host-key"},
		"another's":         {func(t *testing.T, k *keyRepo) { k.put(sealFor(t, other.Recipient().String(), text)) }, "is not encrypted for ssh-host-key of this machine"},
		"sealed, no unlock": {func(_ *testing.T, k *keyRepo) { delete(k.source, "unlock") }, "set unlock to what opens it"},
		"no such branch":    {func(_ *testing.T, k *keyRepo) { k.source["branch"] = "other" }, "missing-branch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { k.source = maps.Clone(good); k.r.Git("reset", "-q", "--hard", begin) })
			c.change(t, k)
			_, err := k.open(t).Fetch(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if errors.Is(err, keysrc.ErrAbsent) {
				t.Errorf("%v would be passed over", err)
			}
		})
	}
	k.source["name"] = "others"
	s := k.open(t)
	k.source["name"] = "keys"
	if _, err := s.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), `no git source "others"`) {
		t.Errorf("another name: %v", err)
	}
	k.source["socket"] = filepath.Join(t.TempDir(), "none")
	if _, err := k.open(t).Fetch(t.Context()); !errors.Is(err, keysrc.ErrTemporary) || !strings.Contains(err.Error(), "pullnode-keyfetch.socket") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestGitSourceOverSSH(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	k := newKeyRepo(t)
	k.put([]byte(id.String()))
	k.overSSH()
	s := k.open(t)
	got, err := s.Fetch(t.Context())
	if err != nil || got.Recipient() != id.Recipient().String() {
		t.Fatalf("got %v, %v", got.Recipient(), err)
	}
	got.Wipe()
	refused := func(what string, want error) {
		t.Helper()
		_, err := s.Fetch(t.Context())
		if !errors.Is(err, want) || errors.Is(err, keysrc.ErrAbsent) != (want == keysrc.ErrTemporary) {
			t.Errorf("%s: %v", what, err)
		}
	}
	k.source["hostKey"] = k.public("impostor")
	refused("another server", keysrc.ErrDenied)
	k.source["hostKey"], k.source["keyFile"] = k.public("host"), k.r.Key("stranger")
	refused("another deploy key", keysrc.ErrDenied)
	k.source["keyFile"] = k.r.Key("deploy")
	k.source["url"] = "ssh://root@" + gitrig.ClosedPort(t) + k.r.Dir
	refused("a server that is down", keysrc.ErrTemporary)
}

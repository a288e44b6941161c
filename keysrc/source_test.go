package keysrc_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
	"pullnode/keysrc/keysrctest"
)

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func open(t testing.TB, settings map[string]any) keysrc.Source {
	t.Helper()
	raw, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	c, err := keysrc.OpenAll([]json.RawMessage{raw})
	if err != nil {
		t.Fatal(err)
	}
	return c.Sources[0]
}

func write(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	os.Remove(path)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// fileCase is the suite for a source that reads one file.
func fileCase(settings func(path string) map[string]any, content []byte, recipient string, secrets ...string) keysrctest.Case {
	var path string
	put := func(t *testing.T, content []byte) { write(t, path, content, 0o400) }
	return keysrctest.Case{
		Open: func(t *testing.T) keysrc.Source {
			path = filepath.Join(t.TempDir(), "medium")
			put(t, content)
			return open(t, settings(path))
		},
		Remove:  func(t *testing.T) { os.Remove(path) },
		Put:     put,
		Content: content, Recipient: recipient, Secrets: secrets,
	}
}

func TestFile(t *testing.T) {
	byPath := func(path string) map[string]any { return map[string]any{"type": "file", "path": path} }
	id := newIdentity(t)
	text := "# created: today\n" + id.String() + "\n"
	t.Run("x25519", func(t *testing.T) {
		keysrctest.Run(t, fileCase(byPath, []byte(text), id.Recipient().String(), id.String(), id.String()[20:]))
	})
	pq, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("post-quantum", func(t *testing.T) {
		keysrctest.Run(t, fileCase(byPath, []byte(pq.String()+"\n"), pq.Recipient().String(), pq.String()))
	})
}

func TestCredential(t *testing.T) {
	id := newIdentity(t)
	keysrctest.Run(t, fileCase(func(path string) map[string]any {
		t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(path))
		return map[string]any{"type": "credential", "name": filepath.Base(path)}
	}, []byte(id.String()+"\n"), id.Recipient().String(), id.String()))

	t.Run("no directory", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		_, err := open(t, map[string]any{"type": "credential", "name": "x"}).Fetch(t.Context())
		wantErr(t, err, "absent: systemd passed no credentials")
	})
	t.Run("mode with systemd's ACL mask", func(t *testing.T) {
		dir := t.TempDir()
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		s := open(t, map[string]any{"type": "credential", "name": "x"})
		write(t, filepath.Join(dir, "x"), []byte(id.String()), 0o440)
		if _, err := s.Fetch(t.Context()); err != nil {
			t.Error(err)
		}
		write(t, filepath.Join(dir, "x"), []byte(id.String()), 0o444)
		_, err := s.Fetch(t.Context())
		wantErr(t, err, "has mode 0444")
	})
}

func TestSSHHostKey(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("this test needs ssh-keygen: apt-get install openssh-client")
	}
	content, recipient := sshKeygen(t, "ed25519", "")
	keysrctest.Run(t, fileCase(func(path string) map[string]any {
		return map[string]any{"type": "ssh-host-key", "path": path}
	}, content, recipient, strings.Split(string(content), "\n")[2:5]...))

	for name, c := range map[string]struct{ kind, pass, want string }{
		"rsa":        {"rsa", "", "only an ed25519 host key"},
		"passphrase": {"ed25519", "secret", "has a passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k")
			pem, _ := sshKeygen(t, c.kind, c.pass)
			write(t, path, pem, 0o600)
			_, err := open(t, map[string]any{"type": "ssh-host-key", "path": path}).Fetch(t.Context())
			wantErr(t, err, c.want)
		})
	}
}

func TestFileIsRefused(t *testing.T) {
	id := newIdentity(t)
	text := []byte(id.String() + "\n")
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"group-readable": {func(t *testing.T, p string) { write(t, p, text, 0o440) }, "has mode 0440"},
		"world-readable": {func(t *testing.T, p string) { write(t, p, text, 0o604) }, "has mode 0604"},
		"group-writable": {func(t *testing.T, p string) { write(t, p, text, 0o620) }, "has mode 0620"},
		"of another user": {func(t *testing.T, p string) {
			write(t, p, text, 0o600)
			if err := os.Chown(p, 65534, 65534); err != nil {
				t.Fatalf("this test needs root: %v", err)
			}
		}, "belongs to user 65534"},
		"symlink": {func(t *testing.T, p string) {
			write(t, p+".real", text, 0o600)
			if err := os.Symlink(p+".real", p); err != nil {
				t.Fatal(err)
			}
		}, "is a symbolic link"},
		"dangling symlink": {func(t *testing.T, p string) {
			if err := os.Symlink("/nonexistent", p); err != nil {
				t.Fatal(err)
			}
		}, "is a symbolic link"},
		"directory": {func(t *testing.T, p string) {
			if err := os.Mkdir(p, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		"pipe": {func(t *testing.T, p string) {
			if err := syscall.Mkfifo(p, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		"age plugin": {func(t *testing.T, p string) { write(t, p, []byte("AGE-PLUGIN-X-1QQQQ\n"), 0o600) }, "line 1 names an age plugin"},
		"huge":       {func(t *testing.T, p string) { write(t, p, make([]byte, 1<<20), 0o600) }, "is over 65536 bytes"},
		"public key": {func(t *testing.T, p string) { write(t, p, []byte(id.Recipient().String()), 0o600) }, "line 1 is not an age identity"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			c.make(t, path)
			_, err := open(t, map[string]any{"type": "file", "path": path}).Fetch(t.Context())
			wantErr(t, err, c.want)
		})
	}
}

// A directory on the way to the file may lead into the store, as /etc/static
// does, so the name alone does not tell.
func TestStoreIsRefused(t *testing.T) {
	if err := os.MkdirAll("/nix/store", 0o755); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	dir, err := os.MkdirTemp("/nix/store", "keysrc-test-")
	if err != nil {
		t.Fatalf("this test needs root and a writable /nix/store: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "key"), []byte(newIdentity(t).String()), 0o600)
	link := filepath.Join(t.TempDir(), "etc")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, map[string]any{"type": "file", "path": link + "/key"}).Fetch(t.Context())
	wantErr(t, err, "in the Nix store")

	for _, path := range []string{dir + "/key", "/etc/../nix/store/x", "/nix/store"} {
		raw, _ := json.Marshal(map[string]any{"type": "file", "path": path})
		_, err := keysrc.OpenAll([]json.RawMessage{raw})
		wantErr(t, err, "in the Nix store")
	}
}

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want one with %q", err, want)
	}
}

func openRaw(raw string) (keysrc.Chain, error) {
	return keysrc.OpenAll([]json.RawMessage{json.RawMessage(raw)})
}

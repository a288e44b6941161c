package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/internal/state"
)

// The stand-ins keep the contract of the tools: disko wipes what the flake names
// and leaves the new root mounted, nixos-install puts a system there.
var standIns = map[string]string{
	"lsblk": `test "$1 $2 $3" = "--json --output PATH,TYPE,RO,FSTYPE,PTTYPE,MOUNTPOINT" || exit 9
test "$4" = /dev/vda || { echo "lsblk: $4: not a block device" >&2; exit 32; }
cat "$RIG/lsblk.json"`,
	"head":    readDisk,
	"tail":    readDisk,
	"swapoff": `echo "$1" >> "$RIG/swapoff"`,
	"disko": `test "$2" = destroy,format,mount || exit 9
case "$7" in path:*#web01) ;; *) exit 9 ;; esac
echo wiped >> "$RIG/disk"; mkdir -p "$5/nix"; echo "$5" > "$RIG/mounted"`,
	"findmnt": `cat "$RIG/mounted"`,
	"nixos-install": `test "$(stat -c %a "$2/etc/ssh/ssh_host_ed25519_key")" = 600 || { echo "no host key" >&2; exit 9; }
test -n "$FAIL_INSTALL" && { echo "error: builder failed" >&2; exit 1; }
echo installed > "$2/system"`,
	"umount":       `test "$1" = --recursive; rm "$RIG/mounted"`,
	"systemctl":    `echo "$1" > "$RIG/rebooted"`,
	"nixos-facter": `echo '{"version":1}' > "$2"`,
}

// readDisk reads both ends of the disk, whose content is a file.
const readDisk = `test "$3" = /dev/vda || exec "/usr/bin/${0##*/}" "$@"
test ! -e "$RIG/unreadable" || { echo "${0##*/}: $3: denied" >&2; exit 1; }
test ! -e "$RIG/disk" || cat "$RIG/disk"`

const emptyDisk = `{"blockdevices":[{"path":"/dev/vda","fstype":null,"pttype":null,"mountpoint":null}]}`
const fullDisk = `{"blockdevices":[{"path":"/dev/vda","fstype":null,"pttype":"gpt","mountpoint":null,"children":[{"path":"/dev/vda1","fstype":"ntfs","pttype":null,"mountpoint":null}]}]}`
const usedDisk = `{"blockdevices":[{"path":"/dev/vda","fstype":null,"pttype":"gpt","mountpoint":null,"children":[{"path":"/dev/vda1","fstype":"vfat","pttype":null,"mountpoint":"/iso"}]}]}`

const hostFlake = `{
  outputs = _: {
    nixosConfigurations.web01.config = {
      system.build.toplevel = derivation { name = "system"; system = "x86_64-linux"; builder = "/bin/sh"; };
      disko.devices.disk.main.device = "/dev/vda";
      services.pullnode.settings.keys = { sources = [ %s ]; files = [ ]; recipient = null; };
    };
  };
}`

// image is an installer image with one repository, and a disk.
type image struct {
	t    *testing.T
	dir  string
	r    *gitrig.Repo
	conf string
}

func newImage(t *testing.T) *image {
	m := &image{t: t, dir: t.TempDir(), r: gitrig.New(t)}
	bin := filepath.Join(m.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range standIns {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nset -e\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("RIG", m.dir)
	t.Setenv("HOME", m.dir)
	t.Setenv("TMPDIR", m.dir)
	for _, kv := range ownStore(m.dir) {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	t.Cleanup(func() { makeWritable(m.dir) })
	m.write("lsblk.json", emptyDisk)
	m.r.Write("flake.nix", fmt.Sprintf(hostFlake, ""))
	for _, f := range []string{"host.nix", "default.nix", "disko.nix"} {
		m.r.Write("hosts/web01/"+f, "{ }\n")
	}
	m.r.Signers("alice")
	intro := m.r.Commit("alice", "introduce")
	srv := httptest.NewServer(m.r.Handler())
	t.Cleanup(srv.Close)
	raw, err := json.Marshal(map[string]any{"hostName": "installer", "url": srv.URL + "/repo", "introduction": m.r.Introduction(intro, "alice")})
	if err != nil {
		t.Fatal(err)
	}
	m.conf = m.write("install.json", string(raw))
	return m
}

func makeWritable(dir string) {
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(p, 0o755)
		}
		return nil
	})
}

func (m *image) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *image) install(args ...string) (string, int) {
	m.t.Helper()
	return m.pullnode(append([]string{"install", "web01", "--config", m.conf, "--root", filepath.Join(m.dir, "mnt"), "--wait", "0s"}, args...)...)
}

func (m *image) pullnode(args ...string) (string, int) {
	m.t.Helper()
	var out, errs bytes.Buffer
	code := run(args, &out, &errs)
	return out.String() + errs.String(), code
}

// touched says whether disko ran.
func (m *image) touched() bool {
	raw, _ := os.ReadFile(filepath.Join(m.dir, "disk"))
	return strings.Contains(string(raw), "wiped")
}

// extraKey makes files for the new root, the host key of the example among them, as
// one has them who copied them without care for modes.
func (m *image) extraKey() {
	m.t.Helper()
	mustDo(m.t, os.MkdirAll(filepath.Join(m.dir, "extra/etc/ssh"), 0o755))
	m.write("extra/"+newHostKey, string(read(m.t, filepath.Join("..", "..", "hosts", "example", "test-only-host-key"))))
}

func (m *image) has(name string) bool {
	_, err := os.Stat(filepath.Join(m.dir, name))
	return err == nil
}

// The straight path: the machine has the system, its host key and the trust floor.
func TestInstall(t *testing.T) {
	m := newImage(t)
	out, code := m.install()
	if code != exitOK || !m.has("mnt/system") || !m.has("rebooted") || m.has("mounted") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if !m.has("web01-facter.json") || !m.has("mnt/root/facter.json") || !strings.Contains(out, "commit it as hosts/web01/facter.json") {
		t.Errorf("no hardware report: %s", out)
	}
	s, err := state.Open(state.Config{Dir: filepath.Join(m.dir, "mnt/var/lib/pullnode"), FloorPath: filepath.Join(m.dir, "mnt/nix/var/pullnode/floor.json")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.State().Trusted.Commit; got != m.r.Head() {
		t.Errorf("the trust floor is %q, want %s", got, m.r.Head())
	}
	if os.Geteuid() == 0 && !m.has("mnt/nix/var/pullnode/floor.json") {
		t.Error("no floor file")
	}
}

// Whatever is wrong before disko leaves the disk as it was.
func TestInstallTouchesNoDisk(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*image)
		args   []string
		say    string
	}{
		"unsigned":     {func(m *image) { m.r.Commit("", "planted") }, nil, "may not be installed: UNSIGNED"},
		"stranger":     {func(m *image) { m.r.Key("mallory"); m.r.Commit("mallory", "planted") }, nil, "may not be installed: UNKNOWN-KEY"},
		"unknown data": {func(m *image) { m.write("disk", "photos") }, nil, "/dev/vda has data: something of an unknown kind"},
		"unreadable":   {func(m *image) { m.write("unreadable", "") }, nil, "/dev/vda has data: it cannot be read"},
		"mounted root": {func(m *image) { m.write("mounted", "/dev/sdb1") }, nil, "/dev/sdb1 is mounted on "},
		"two keys":     {func(m *image) { m.extraKey() }, []string{"--extra-files", "extra", "--host-key", "key"}, "both say which host key the machine gets"},
		"no host key":  {func(m *image) { m.write("key", "ssh-ed25519 AAAA") }, []string{"--host-key", "key"}, "is not an ed25519 private key without a passphrase"},
		"other name":   {func(m *image) { m.write("lsblk.json", fullDisk) }, []string{"--wipe", "--yes-wipe=web02"}, `"web02" is not web01; no disk was touched`},
		"full disk":    {func(m *image) { m.write("lsblk.json", fullDisk) }, nil, "/dev/vda has data: gpt partition table, /dev/vda1 (ntfs)\npullnode: error: the disks have data on them; none was touched"},
		"in use":       {func(m *image) { m.write("lsblk.json", usedDisk) }, []string{"--wipe", "--yes-wipe=web01"}, "in use: mounted at /iso"},
		"another disk": {nil, []string{"--disk", "/dev/sdb"}, "only /dev/sdb may be touched"},
		"no folder": {func(m *image) { m.r.Git("rm", "-q", "hosts/web01/disko.nix"); m.r.Commit("alice", "less") }, nil,
			"the signed commit has no hosts/web01/disko.nix"},
		"no evaluation": {func(m *image) {
			m.r.Write("flake.nix", "{ outputs = _: throw \"nothing here\"; }")
			m.r.Commit("alice", "break")
		}, nil,
			"web01 does not evaluate"},
		"missing key": {func(m *image) {
			m.r.Write("flake.nix", fmt.Sprintf(hostFlake, `{ type = "file"; path = "/var/lib/host.age"; }`))
			raw, err := os.ReadFile(filepath.Join("..", "..", "hosts", "example", "secrets.yaml"))
			if err != nil {
				m.t.Fatal(err)
			}
			m.r.Write("hosts/web01/secrets.yaml", string(raw))
			m.r.Commit("alice", "a secret")
		}, nil, "no disk was touched"},
		"secret of another host": {func(m *image) {
			m.r.Write("flake.nix", fmt.Sprintf(hostFlake, `{ type = "ssh-host-key"; }`))
			raw, err := os.ReadFile(filepath.Join("..", "..", "hosts", "example", "secrets.yaml"))
			if err != nil {
				m.t.Fatal(err)
			}
			m.r.Write("hosts/web01/secrets.yaml", string(raw))
			m.r.Commit("alice", "a secret")
		}, nil, "is not encrypted for this host"},
		"server down": {func(m *image) {
			m.write("install.json", strings.Replace(string(read(m.t, m.conf)), "127.0.0.1:", "127.0.0.1:1", 1))
		}, nil, "fetching:"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newImage(t)
			if c.change != nil {
				c.change(m)
			}
			t.Chdir(m.dir)
			out, code := m.install(c.args...)
			if code == exitOK || m.touched() || m.has("rebooted") || !strings.Contains(out, c.say) {
				t.Errorf("exit %d, disk touched %v: %s\nwant %q", code, m.touched(), out, c.say)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// With the name typed, a full disk is used; with the key of the secrets they open.
// That key may lie among the extra files, and sshd will read it.
func TestInstallWipesAndOpens(t *testing.T) {
	m := newImage(t)
	m.write("lsblk.json", fullDisk)
	m.r.Write("flake.nix", fmt.Sprintf(hostFlake, `{ type = "ssh-host-key"; }`))
	m.r.Write("hosts/web01/secrets.yaml", string(read(t, filepath.Join("..", "..", "hosts", "example", "secrets.yaml"))))
	m.r.Commit("alice", "a secret")
	m.extraKey()
	defer syscall.Umask(syscall.Umask(0o077))
	out, code := m.install("--wipe", "--yes-wipe=web01", "--extra-files", m.dir+"/extra", "--no-reboot", "--json")
	if code != exitOK || !m.has("mnt/system") || m.has("rebooted") || !strings.Contains(out, `"host": "web01"`) || !strings.Contains(out, "/dev/vda\"\n") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if got := read(t, filepath.Join(m.dir, "mnt/etc/ssh/ssh_host_ed25519_key")); !bytes.Equal(got, read(t, m.dir+"/extra/"+newHostKey)) {
		t.Error("the host key is not the one that was given")
	}
	for name, mode := range map[string]os.FileMode{"": 0o755, "etc": 0o755, "etc/ssh": 0o755, newHostKey: 0o600, newHostKey + ".pub": 0o644, "root/facter.json": 0o600} {
		if st, err := os.Stat(filepath.Join(m.dir, "mnt", name)); err != nil || st.Mode().Perm() != mode && name != "" || st.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
			t.Errorf("/%s: %v, %v", name, st, err)
		}
	}
}

// A tool that fails is named with its last words, the disks are given back, and what
// is said to start over does so.
func TestInstallFails(t *testing.T) {
	m := newImage(t)
	t.Setenv("FAIL_INSTALL", "1")
	out, code := m.install()
	if code != exitFailed || !strings.Contains(out, "nixos-install: exit status 1: error: builder failed") || m.has("rebooted") || m.has("mounted") {
		t.Errorf("exit %d: %s", code, out)
	}
	t.Setenv("FAIL_INSTALL", "")
	if out, code := m.install(); code == exitOK || !strings.Contains(out, "something of an unknown kind") {
		t.Errorf("exit %d: what lies on the disk now is not taken for data: %s", code, out)
	}
	if !strings.Contains(out, "pullnode install web01 --wipe starts over") {
		t.Error(out)
	}
	if out, code := m.install("--wipe", "--yes-wipe=web01"); code != exitOK || !m.has("rebooted") {
		t.Errorf("exit %d: it does not start over: %s", code, out)
	}
}

// A key that somebody may have encrypted secrets for by now outlives a failure; Ctrl-C
// ends a question.
func TestInstallInterrupted(t *testing.T) {
	m := newImage(t)
	m.r.Write("flake.nix", fmt.Sprintf(hostFlake, `{ type = "ssh-host-key"; }`))
	m.r.Write("hosts/web01/secrets.yaml", string(read(t, filepath.Join("..", "..", "hosts", "example", "secrets.yaml"))))
	m.r.Commit("alice", "a secret")
	m.write("lsblk.json", fullDisk)
	out, code := m.install("--wait", "1s", "--poll", "10ms")
	key := regexp.MustCompile(`go on with --host-key (\S+),`).FindStringSubmatch(out)
	if code == exitOK || key == nil {
		t.Fatalf("exit %d: %s", code, out)
	}
	if st, err := os.Stat(key[1]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if left, _ := filepath.Glob(m.dir + "/pullnode-install-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	r, w, err := os.Pipe()
	mustDo(t, err)
	defer w.Close()
	defer r.Close()
	i := &installer{in: bufio.NewReader(r), out: io.Discard}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := i.ask(ctx, "?"); err == nil {
		t.Errorf("answered %q", got)
	}
	w.WriteString(" web01 \n")
	if got, err := (&installer{in: bufio.NewReader(strings.NewReader(" web01 \n")), out: io.Discard}).ask(t.Context(), "?"); got != "web01" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

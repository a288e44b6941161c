package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/gitrig"
	"pullnode/internal/install"
	"pullnode/internal/state"
)

// farSSHD is the target's sshd. What is asked of it runs here, on files of its own.
const farSSHD = `Port %s
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
PidFile %s/sshd.pid
ForceCommand %s/far/shell
`

var farFiles = map[string]string{
	"shell": `#!/bin/sh
export HOME=@rig@/far/root RIG=@rig@ PATH=@rig@/far/bin:$PATH
echo "$SSH_ORIGINAL_COMMAND" >> @rig@/asked
mkdir -p "$HOME"; cd "$HOME"
exec sh -c "$(printf %s "$SSH_ORIGINAL_COMMAND" | sed 's#/etc/\(os-release\|NIXOS\)#@rig@/far/\1#; s#\(/var/lib/pullnode\|/nix/var/pullnode\|/run/pullnode\)#@rig@/far/root\1#g')"`,
	"bin/lsblk": `#!/bin/sh
test "$*" = "--json --output PATH,TYPE,RO,FSTYPE,PTTYPE,MOUNTPOINT /dev/vda" || exit 9
cat @rig@/lsblk.json`,
	"bin/systemctl": `#!/bin/sh
test "$*" = "is-active --quiet pullnode.service" && test ! -e @rig@/agent-down`,
	"bin/head": "#!/bin/sh\nexit 0",
	"bin/tail": "#!/bin/sh\nexit 0",
	// The first answers of a node that has just booted.
	"bin/pullnode": `#!/bin/sh
test "$*" = "status --json" || exit 9
n=$(($(cat @rig@/n 2>/dev/null) + 1)); echo $n > @rig@/n
case $n in
1) echo "there is no status" >&2; exit 1 ;;
2) echo '{"sync":"behind","health":"checking"}'; exit 3 ;;
esac
cat @rig@/status.json`,
	"os-release": "ID=debian\n",
}

// anywhere keeps the contract of nixos-anywhere: its own ssh options, before those
// of the caller, would take any host key; it copies the extra files, and the machine
// comes back with what was installed.
const anywhere = `printf '%s\n' "$@" > "$RIG/argv"
echo "$NIX_CONFIG" | grep -qx 'accept-flake-config = false' || exit 9
tree=${2#path:}; cp -r "${tree%#*}" "$RIG/tree"
port=; while [ $# -gt 0 ]; do case $1 in -p) port=$2 ;; -i) key=$2 ;; --extra-files) extra=$2 ;; esac; shift; done
s() { ssh -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -i "$key" -p "$port" root@127.0.0.1 "$@"; }
# It tries again forever to reach the machine.
[ -z "$SWAP" ] || "$RIG/swap" "$RIG/other"
until s true; do sleep 0.2; done
[ -z "$FAIL_INSTALL" ] || { echo "error: builder failed" >&2; exit 1; }
cp -rp "$extra" "$RIG/root"; (cd "$extra" && find . -printf '%m %p\n') > "$RIG/modes"
"$RIG/swap" "$extra/etc/ssh/ssh_host_ed25519_key"`

// far is a target and the operator's clone.
type far struct {
	*image
	port, key, clone string
	print            string // fingerprint of the target's host key
}

func newFar(t *testing.T) *far {
	m := newImage(t)
	t.Setenv("SWAP", "")
	t.Setenv("FAIL_INSTALL", "")
	f := &far{image: m, key: m.r.Key("deploy"), clone: filepath.Join(m.dir, "clone"), print: m.r.Fingerprint("host")}
	for name, text := range farFiles {
		path := filepath.Join(m.dir, "far", name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@rig@", m.dir)+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.tool("nixos-anywhere", anywhere)
	_, f.port, _ = net.SplitHostPort(gitrig.ClosedPort(t))
	conf := func(hostKey string) string {
		return fmt.Sprintf(farSSHD, f.port, hostKey, f.key+".pub", m.dir, m.dir)
	}
	os.MkdirAll("/run/sshd", 0o755) // Debian's privilege separation directory
	m.write("sshd.conf", conf(m.r.Key("host")))
	m.write("sshd2.conf", conf(m.dir+"/hostkey"))
	m.write("swap", "#!/bin/sh\nset -e\nkill $(cat $RIG/sshd.pid)\nwhile [ -e $RIG/sshd.pid ]; do sleep 0.05; done\ninstall -m 600 $1 $RIG/hostkey\n/usr/sbin/sshd -E $RIG/sshd.log -f $RIG/sshd2.conf\n")
	os.Chmod(filepath.Join(m.dir, "swap"), 0o755)
	if out, err := exec.Command("/usr/sbin/sshd", "-E", m.dir+"/sshd.log", "-f", m.dir+"/sshd.conf").CombinedOutput(); err != nil {
		t.Fatalf("sshd: %v %s", err, out)
	}
	t.Cleanup(func() {
		exec.Command("sh", "-c", "kill $(cat "+m.dir+"/sshd.pid)").Run()
		if t.Failed() {
			log, _ := os.ReadFile(m.dir + "/sshd.log")
			t.Logf("sshd: %s", log)
		}
	})
	m.write("status.json", `{"sync":"in-sync","health":"healthy"}`)
	if out, err := exec.Command("git", "clone", "-q", m.r.Dir, f.clone).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var s struct{ Introduction string }
	if err := json.Unmarshal(read(t, m.conf), &s); err != nil {
		t.Fatal(err)
	}
	if _, err := gitIn(t.Context(), f.clone, "config", "pullnode.introduction", s.Introduction); err != nil {
		t.Fatal(err)
	}
	return f
}

// tool puts a stand-in first on PATH.
func (m *image) tool(name, body string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, "bin", name), []byte("#!/bin/sh\nset -e\n"+body+"\n"), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (f *far) install(args ...string) (string, int) {
	f.t.Helper()
	args = append([]string{"install", "web01", "--repo", f.clone, "--target", "root@127.0.0.1", "--poll", "50ms"}, args...)
	return f.pullnode(append(args, "--", "-i", f.key, "-p", f.port)...)
}

func (f *far) pinned(args ...string) (string, int) {
	f.t.Helper()
	return f.install(append([]string{"--target-key", f.print}, args...)...)
}

// The whole way: the machine gets the verified tree, its key and the trust floor,
// and the command ends when the new system says that it is in sync.
func TestInstallTarget(t *testing.T) {
	f := newFar(t)
	// What lies in the clone's work tree is not what was signed.
	if err := os.WriteFile(filepath.Join(f.clone, "flake.nix"), []byte("throw 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := f.pinned()
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, out)
	}
	argv := regexp.MustCompile(`/[^ ]*/pullnode-install-[0-9]*/`).ReplaceAllString(strings.Join(strings.Fields(string(read(t, f.dir+"/argv"))), " "), "W/")
	argv = regexp.MustCompile(`tip-[0-9]+`).ReplaceAllString(argv, "tip")
	want := "--flake path:W/tip/source#web01 --target-host root@127.0.0.1 --extra-files W/root -i " + f.key + " -p " + f.port
	if argv != want {
		t.Errorf("nixos-anywhere got\n%s, want\n%s", argv, want)
	}
	if got := read(t, f.dir+"/tree/flake.nix"); string(got) != string(read(t, f.r.Dir+"/flake.nix")) {
		t.Errorf("the tree is not the signed one: %s", got)
	}
	modes := string(read(t, f.dir+"/modes"))
	for _, m := range []string{"600 ./etc/ssh/ssh_host_ed25519_key", "755 ./etc", "755 ./nix/var", "755 ./var/lib", "700 ./var/lib/pullnode", "600 ./nix/var/pullnode/floor.json"} {
		if !strings.Contains(modes, m+"\n") {
			t.Errorf("no %s in %s", m, modes)
		}
	}
	s, err := state.Open(state.Config{Dir: f.dir + "/root/var/lib/pullnode", FloorPath: f.dir + "/root/nix/var/pullnode/floor.json"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.State().Trusted.Commit; got != f.r.Head() {
		t.Errorf("the trust floor is %q, want %s", got, f.r.Head())
	}
	for _, say := range []string{"web01: not reachable yet: exit status 1: there is no status", "web01: behind, checking", "web01: in-sync, healthy"} {
		if !strings.Contains(out, say) {
			t.Errorf("does not say %q: %s", say, out)
		}
	}
}

// A machine that shows another host key is not told anything, before and after
// kexec, although nixos-anywhere itself would take any key and try forever.
func TestInstallTargetPinsTheHostKey(t *testing.T) {
	f := newFar(t)
	other := f.r.Fingerprint("other")
	out, code := f.install("--target-key", other)
	if code != exitFailed || !strings.Contains(out, "has no host key "+other) || f.has("asked") || f.has("argv") {
		t.Errorf("exit %d: %s", code, out)
	}
	out, code = f.install("--target-key", f.r.Key("other")+".pub")
	if code != exitFailed || !strings.Contains(out, "shows the SSH host key "+f.print+", which is not the pinned one") || f.has("asked") || f.has("argv") {
		t.Errorf("exit %d: %s", code, out)
	}
	f.r.Key("mallory")
	f.write("other", string(read(t, f.r.Key("mallory"))))
	t.Setenv("SWAP", "1")
	asked := "asked"
	out, code = f.pinned()
	if code != exitFailed || !strings.Contains(out, "nixos-anywhere: the machine shows the SSH host key "+f.r.Fingerprint("mallory")) || f.has("root") {
		t.Errorf("exit %d: %s", code, out)
	}
	if got := string(read(t, filepath.Join(f.dir, asked))); strings.Count(got, "\n") != strings.Count(probe, "\n")+3 {
		t.Errorf("the other machine was asked something: %s", got)
	}
}

// Whatever is wrong before nixos-anywhere leaves the target as it is.
func TestInstallTargetRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*far)
		args   []string
		say    string
	}{
		"unsigned":              {func(f *far) { f.r.Commit("", "planted") }, nil, "may not be installed: UNSIGNED"},
		"nixos":                 {func(f *far) { f.write("far/os-release", "ID=nixos\n") }, nil, "runs NixOS already; nothing was changed there"},
		"nixos by another name": {func(f *far) { f.write("far/os-release", "ID=acme\nID_LIKE=\"debian nixos\"\n") }, nil, "runs NixOS already"},
		"nixos by its mark":     {func(f *far) { f.write("far/NIXOS", "") }, nil, "runs NixOS already"},
		"pullnode":              {func(f *far) { os.MkdirAll(f.dir+"/far/root/var/lib/pullnode", 0o755) }, nil, "is run by pullnode already"},
		"in use":                {func(f *far) { f.write("lsblk.json", usedDisk) }, nil, "/dev/vda has data: gpt partition table, /dev/vda1 (vfat), in use, mounted at /iso"},
		"in use by the installer": {func(f *far) {
			f.write("lsblk.json", usedDisk)
			f.write("far/os-release", "ID=nixos\nVARIANT_ID=installer\n")
		}, []string{"--wipe", "--yes-wipe=web01"}, "the disk /dev/vda is in use"},
		"other name": {func(f *far) { f.write("lsblk.json", fullDisk) }, []string{"--wipe", "--yes-wipe=web02"}, `"web02" is not web01`},
		"no folder": {func(f *far) { f.r.Git("rm", "-q", "hosts/web01/disko.nix"); f.r.Commit("alice", "less") }, nil,
			"the signed commit has no hosts/web01/disko.nix"},
		"not this tree":  {nil, []string{"--", "--flake", ".#other"}, "--flake is not for passing through"},
		"no fingerprint": {nil, []string{"--target-key", ""}, "no fingerprint was given"},
		"no such key":    {nil, []string{"--target-key", "/dev/null"}, "has no SSH host key of [127.0.0.1]:"},
		"no login":       {nil, []string{"--target", "-oProxyCommand=x"}, "is no login"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t)
			if c.change != nil {
				c.change(f)
			}
			args := []string{"--target-key", f.print}
			if len(c.args) > 0 && c.args[0] == "--" {
				_, code := f.pullnode(append([]string{"install", "web01", "--repo", f.clone, "--target", "root@127.0.0.1"}, c.args...)...)
				if code != exitUsage || f.has("argv") {
					t.Errorf("exit %d", code)
				}
				return
			}
			out, code := f.install(append(args, c.args...)...)
			if code == exitOK || f.has("argv") || !strings.Contains(out, c.say) {
				t.Errorf("exit %d, nixos-anywhere ran %v: %s\nwant %q", code, f.has("argv"), out, c.say)
			}
		})
	}
}

// With the name typed a full disk is used, also one that the old system runs from.
func TestInstallTargetWipes(t *testing.T) {
	f := newFar(t)
	f.write("lsblk.json", usedDisk)
	f.write("known", "[127.0.0.1]:"+f.port+" "+string(read(t, f.r.Key("host")+".pub")))
	out, code := f.install("--target-key", f.dir+"/known", "--wipe", "--yes-wipe=web01", "--json")
	if code != exitOK || !f.has("root") || !strings.Contains(out, `"host": "web01"`) {
		t.Errorf("exit %d: %s", code, out)
	}
}

// A tool that fails is named with its last words; a node that never gets in sync is
// told as it is.
func TestInstallTargetFails(t *testing.T) {
	f := newFar(t)
	f.write("n", "2")
	f.write("status.json", `{"sync":"refused","health":"healthy","why":["UNSIGNED"]}`)
	out, code := f.pinned("--wait", "0s")
	if code != exitFailed || !strings.Contains(out, "web01 is installed and not in sync after 0s: refused, healthy: UNSIGNED") {
		t.Errorf("exit %d: %s", code, out)
	}
	f = newFar(t)
	t.Setenv("FAIL_INSTALL", "1")
	out, code = f.pinned()
	if code != exitFailed || !strings.Contains(out, "nixos-anywhere: exit status 1: error: builder failed") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// What nixos-anywhere is told not to do is not said to be done. The machine is asked
// on the port of the new system.
func TestInstallTargetInPart(t *testing.T) {
	f := newFar(t)
	out, code := f.pinned("--no-reboot")
	if code != exitOK || !strings.Contains(out, "it was not rebooted") || !strings.HasSuffix(strings.TrimSpace(string(read(t, f.dir+"/argv"))), "--phases\nkexec,disko,install") {
		t.Errorf("exit %d: %s", code, out)
	}
	f = newFar(t)
	f.tool("nixos-anywhere", `true`)
	args := []string{"install", "web01", "--repo", f.clone, "--target", "root@127.0.0.1", "--target-key", f.r.Key("host") + ".pub", "--", "-i", f.key, "-p", f.port}
	out, code = f.pullnode(append(args, "--phases", "kexec,disko")...)
	if code != exitFailed || !strings.Contains(out, "web01 is not installed: nixos-anywhere was told to do kexec, disko alone") {
		t.Errorf("exit %d: %s", code, out)
	}

	f = newFar(t)
	_, port, _ := net.SplitHostPort(gitrig.ClosedPort(t))
	f.r.Write("flake.nix", strings.Replace(fmt.Sprintf(hostFlake, ""), "disko.", "services.openssh.ports = [ "+port+" ];\n      disko.", 1))
	f.r.Commit("alice", "a port")
	installed := strings.Replace(string(read(t, f.dir+"/sshd2.conf")), "Port "+f.port, "Port "+port, 1)
	f.write("sshd2.conf", installed)
	if out, code := f.pinned(); code != exitOK || !strings.Contains(out, "web01: in-sync, healthy") {
		t.Errorf("exit %d: %s", code, out)
	}
	// Nobody who gets in as root is left to wait for.
	f.write("sshd2.conf", strings.Replace(installed, "AuthorizedKeysFile "+f.key+".pub", "AuthorizedKeysFile none", 1))
	mustDo(t, exec.Command(f.dir+"/swap", f.r.Key("host")).Run())
	pin, err := install.NewPin(f.dir+"/pin", publicKey(t, f.r.Key("host")+".pub"))
	mustDo(t, err)
	login, err := install.ParseLogin("root@127.0.0.1")
	mustDo(t, err)
	login.Identity = f.key
	i := &installer{remote: &remoteTarget{login: login}, wait: time.Hour, poll: time.Hour}
	i.Host, i.Say = "web01", t.Logf
	number, err := strconv.Atoi(port)
	mustDo(t, err)
	if err := i.firstSync(t.Context(), pin, []int{number}); err == nil || !strings.Contains(err.Error(), "web01 is installed, and does not let you in as root") {
		t.Error(err)
	}
}

func publicKey(t *testing.T, file string) ssh.PublicKey {
	t.Helper()
	k, _, _, _, err := ssh.ParseAuthorizedKey(read(t, file))
	mustDo(t, err)
	return k
}

// --vm-test goes to nixos-anywhere with the verified tree, and to no machine.
func TestInstallVMTest(t *testing.T) {
	f := newFar(t)
	f.tool("nixos-anywhere", `printf '%s\n' "$@" > "$RIG/argv"; tree=${2#path:}; test -e "${tree%#*}/flake.nix"`)
	out, code := f.pullnode("install", "web01", "--repo", f.clone, "--vm-test", "--", "-L")
	if got := strings.Fields(string(read(t, f.dir+"/argv"))); code != exitOK || len(got) != 4 || got[2] != "--vm-test" || got[3] != "-L" || f.has("asked") {
		t.Errorf("exit %d, %q: %s", code, got, out)
	}
}

// The real nixos-anywhere, as far as it gets on a machine without NixOS: its
// arguments are right, it reaches the target through the pin although it passes
// StrictHostKeyChecking=no first, and it ends when the target is another machine.
func TestRealNixosAnywhere(t *testing.T) {
	script := os.Getenv("NIXOS_ANYWHERE")
	if script == "" {
		t.Skip("needs nixos-anywhere's source: NIXOS_ANYWHERE=DIR")
	}
	script = filepath.Join(script, "src", "nixos-anywhere.sh")
	if !strings.Contains(string(read(t, script)), `"-o" "StrictHostKeyChecking=no"`) {
		t.Error("nixos-anywhere does not pass StrictHostKeyChecking=no any more: docs/install.md says that it does")
	}
	// The pin is first on PATH only while the package puts no ssh of its own before it.
	nix := string(read(t, filepath.Join(filepath.Dir(script), "default.nix")))
	if deps, _, _ := strings.Cut(nix[strings.Index(nix, "runtimeDeps = ["):], "];"); strings.Contains(deps, "openssh") || !strings.Contains(nix, "--suffix PATH : ${lib.makeBinPath [ openssh ]}") {
		t.Error("nixos-anywhere's package brings an ssh that goes before the pinned one")
	}
	f := newFar(t)
	f.tool("nixos-anywhere", `exec bash `+script+` "$@" --build-on remote --debug 2>"$RIG/log"`)
	out, code := f.pinned()
	log := string(read(t, f.dir+"/log"))
	if code != exitFailed || !strings.Contains(log, "isInstaller=n") || !strings.Contains(log, "hasTar=y") {
		t.Errorf("exit %d: it did not gather facts: %s\n%s", code, out, log)
	}
	f = newFar(t)
	f.write("other", string(read(t, f.r.Key("mallory"))))
	f.tool("nixos-anywhere", `"$RIG/swap" "$RIG/other"; exec bash `+script+` "$@" --build-on remote`)
	out, code = f.pinned()
	if code != exitFailed || !strings.Contains(out, "nixos-anywhere: the machine shows the SSH host key "+f.r.Fingerprint("mallory")) {
		t.Errorf("exit %d: %s", code, out)
	}
}

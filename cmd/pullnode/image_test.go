package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/gitrig"
)

// imageNix keeps the contract of nix: it evaluates what is asked of the verified
// tree, and "builds" images that are really there.
const imageNix = `test "$1 $2 $3 $4 $5 $6 $7 $8" = "--extra-experimental-features nix-command flakes --option accept-flake-config false --option flake-registry "; shift 8
echo "$*" >> "$RIG/nix"; verb=$1; shift
test "$1" = --no-update-lock-file; shift
case $verb in
eval) test "$1" = --json; tree=${2#path:}; test -e "${tree%%#*}/signed"
  case ${2#*#} in
  'nixosConfigurations."web01".config') echo '{"system":"aarch64-linux","images":["raw-efi","sd-card"]}' ;;
  'nixosConfigurations."bare".config') echo '{"system":"x86_64-linux","images":["qemu"]}' ;;
  'nixosConfigurations."installer-'*'-linux".config.services.pullnode-installer.settings') cat "$RIG/settings.json" ;;
  *) echo "error: no attribute ${2#*#}" >&2; exit 1 ;;
  esac ;;
build) test "$1 $2 $3" = "--no-link --json --print-build-logs"
  echo "building" >&2
  echo '[{"drvPath":"x","outputs":{"out":"'"$RIG/out"'"}}]' ;;
*) exit 9 ;;
esac`

type imageRig struct {
	t        *testing.T
	r        *gitrig.Repo
	dir, out string
}

func newImageRig(t *testing.T) *imageRig {
	m := &imageRig{t: t, r: gitrig.New(t), dir: t.TempDir()}
	m.out = filepath.Join(m.dir, "out")
	for _, d := range []string{"bin", "out/iso", "out/sd-image"} {
		if err := os.MkdirAll(filepath.Join(m.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("bin/nix", "#!/bin/sh\nset -e\n"+imageNix+"\n")
	os.Chmod(filepath.Join(m.dir, "bin/nix"), 0o755)
	t.Setenv("PATH", m.dir+"/bin:"+os.Getenv("PATH"))
	t.Setenv("RIG", m.dir)
	t.Setenv("TMPDIR", m.dir)
	m.r.Signers("alice")
	intro := m.r.Introduction(m.r.Commit("alice", "introduce"), "alice")
	m.r.Git("config", "pullnode.introduction", intro)
	m.r.Write("signed", "yes\n")
	m.r.Commit("alice", "machines")
	m.write("settings.json", `{"url":"https://git.example.org/infra.git","branch":"main","introduction":"`+intro+`"}`)
	return m
}

func (m *imageRig) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *imageRig) image(args ...string) string {
	m.t.Helper()
	return typed(append([]string{"image", "--repo", m.r.Dir}, args...)...)
}

// The ISO has the verified tree's installer and a host key that is on it alone; what
// is printed is true of the file.
func TestImageISO(t *testing.T) {
	m := newImageRig(t)
	m.write("out/content", "a squashfs")
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-V", "PULLNODE", "-o", m.out+"/iso/pullnode-installer.iso", m.out+"/content").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := filepath.Join(m.dir, "my.iso")
	got := m.image("web01", "--format", "iso", "--output", file, "--json")
	var made diskImage
	if err := json.Unmarshal([]byte(got[strings.Index(got, "{"):strings.LastIndex(got, "}")+1]), &made); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	raw := read(t, file)
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 || made.Size != st.Size() || made.SHA256 != fmt.Sprintf("%x", sha256.Sum256(raw)) {
		t.Errorf("%v %v: %+v", st.Mode(), err, made)
	}
	if made.Commit != m.r.Head() || made.URL != "https://git.example.org/infra.git" || !strings.Contains(made.Trusts, "@SHA256:") {
		t.Errorf("%+v", made)
	}
	if asked := string(read(t, m.dir+"/nix")); !strings.Contains(asked, "#packages.aarch64-linux.installer-iso") {
		t.Errorf("not the installer for the machine's architecture: %s", asked)
	}
	// What boots from the ISO reads this file.
	key := filepath.Join(m.dir, "key")
	for at, to := range map[string]string{imageKey: key, "/content": m.dir + "/content"} {
		if out, err := exec.Command("xorriso", "-osirrox", "on", "-indev", file, "-extract", at, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	signer, err := ssh.ParsePrivateKey(read(t, key))
	if err != nil || string(ssh.MarshalAuthorizedKey(signer.PublicKey())) != made.HostKey {
		t.Errorf("the key on the ISO is not the one that was printed: %v, %+v", err, made)
	}
	if strings.Contains(string(read(t, m.dir+"/nix")), "OPENSSH") || strings.Contains(string(read(t, m.out+"/iso/pullnode-installer.iso")), "OPENSSH") {
		t.Error("the key went through Nix")
	}
	again := m.image("installer", "--output", file)
	if !strings.Contains(again, file+" is there already") || string(read(t, file)) != string(raw) {
		t.Errorf("an image was overwritten: %s", again)
	}
	own := m.r.Key("host")
	text := m.image("installer", "--output", file+"2", "--host-key", own)
	for _, say := range []string{"image    " + file + "2", "sha256   ", "trusts   ", "host key " + m.r.Fingerprint("host"), "Line for known_hosts: ADDRESS ssh-ed25519 ", "exit status 0"} {
		if !strings.Contains(text, say) {
			t.Errorf("does not say %q: %s", say, text)
		}
	}
}

func TestImageOfAMachine(t *testing.T) {
	m := newImageRig(t)
	m.write("out/sd-image/web01.img.zst", "an image")
	m.write("out/web01.raw", "another")
	for format, say := range map[string]string{"sd-card": "zstdcat " + m.out + "/sd-image/web01.img.zst | sudo dd of=", "raw": "sudo dd if=" + m.out + "/web01.raw of="} {
		if got := m.image("web01", "--format", format); !strings.Contains(got, say) || !strings.Contains(got, "exit status 0") {
			t.Errorf("%s: %s", format, got)
		}
	}
	if asked := string(read(t, m.dir+"/nix")); !strings.Contains(asked, `#nixosConfigurations."web01".config.system.build.images."raw-efi"`) {
		t.Error(asked)
	}
}

// No image is made of what no node would run, or that would trust something else.
func TestImageRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*imageRig)
		args   []string
		say    string
	}{
		"unsigned":           {func(m *imageRig) { m.r.Write("a", "b"); m.r.Commit("", "planted") }, []string{"web01"}, "UNSIGNED"},
		"no such format":     {nil, []string{"web01", "--format", "vmdk"}, `no such format: "vmdk"`},
		"not of this host":   {nil, []string{"bare", "--format", "raw"}, "bare has no image raw-efi; it has qemu"},
		"not the installer":  {nil, []string{"installer", "--format", "sd-card"}, "the installer has no sd-card image"},
		"no such host":       {nil, []string{"web02", "--format", "raw"}, "web02 does not evaluate"},
		"other introduction": {func(m *imageRig) { m.write("settings.json", `{"url":"x","introduction":"y"}`) }, []string{"web01"}, "would trust another introduction than this clone"},
		"no image in it":     {nil, []string{"web01", "--format", "kexec"}, "no image is where one should be"},
		"bad key":            {func(m *imageRig) { m.write("out/iso/a.iso", "x") }, []string{"web01", "--host-key", "/dev/null"}, "not an ed25519 private key"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newImageRig(t)
			if c.change != nil {
				c.change(m)
			}
			if got := m.image(append(c.args, "--output", m.dir+"/o.iso")...); !strings.Contains(got, c.say) || strings.Contains(got, "exit status 0") {
				t.Errorf("%s\nwant %q", got, c.say)
			}
			if _, err := os.Stat(m.dir + "/o.iso"); err == nil {
				t.Error("an image was left")
			}
		})
	}
}

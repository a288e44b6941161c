package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
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

// diskOf makes a disk image with a boot partition and a root file system of ext4, under
// an MBR or a GPT.
func diskOf(t *testing.T, file, label string, gpt bool) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	const sector, boot, root = 512, 2048, 4096
	raw := make([]byte, root*sector+16<<20)
	raw[510], raw[511] = 0x55, 0xaa
	for n, at := range []uint32{boot, root} {
		if gpt {
			copy(raw[sector:], "EFI PART")
			binary.LittleEndian.PutUint64(raw[sector+72:], 2)
			binary.LittleEndian.PutUint32(raw[sector+80:], 128)
			binary.LittleEndian.PutUint32(raw[sector+84:], 128)
			raw[446+4] = 0xee
			e := raw[2*sector+n*128:]
			e[0] = 1
			binary.LittleEndian.PutUint64(e[32:], uint64(at))
			continue
		}
		e := raw[446+16*n:]
		e[4] = 0x83
		binary.LittleEndian.PutUint32(e[8:], at)
	}
	mustDo(t, os.WriteFile(file, raw, 0o644))
	etc := t.TempDir()
	mustDo(t, os.MkdirAll(etc+"/etc", 0o755))
	if out, err := exec.Command("mkfs.ext4", "-q", "-L", label, "-d", etc, "-E", fmt.Sprintf("offset=%d", root*sector), file, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
}

// The image of a machine, with MBR or GPT, gets its host key where its sshd looks for
// it; its file system stays whole, and what Nix built stays as it was.
func TestImageOfAMachine(t *testing.T) {
	m := newImageRig(t)
	diskOf(t, m.out+"/web01.raw", "nixos", true)
	diskOf(t, m.dir+"/card.img", "NIXOS_SD", false)
	if out, err := exec.Command("zstd", "-q", m.dir+"/card.img", "-o", m.out+"/sd-image/web01.img.zst").CombinedOutput(); err != nil {
		t.Fatalf("zstd: %v: %s", err, out)
	}
	own := m.r.Key("host")
	for format, built := range map[string]string{"raw": m.out + "/web01.raw", "sd-card": m.dir + "/card.img"} {
		before := read(t, built)
		file := filepath.Join(m.dir, format+".img")
		got := m.image("web01", "--format", format, "--output", file, "--host-key", own)
		for _, say := range []string{"sudo dd if=" + file + " of=", "host key " + m.r.Fingerprint("host"), "Line for known_hosts: ADDRESS ssh-ed25519 ", "exit status 0"} {
			if !strings.Contains(got, say) {
				t.Errorf("%s does not say %q: %s", format, say, got)
			}
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != 0o600 || st.Size() != int64(len(before)) {
			t.Fatalf("%v, %v", st, err)
		}
		at := fmt.Sprintf("%s?offset=%d", file, 4096*512)
		debugfs := func(what string) string {
			t.Helper()
			out, err := exec.Command("debugfs", "-R", what, at).Output()
			mustDo(t, err)
			return string(out)
		}
		if debugfs("cat /"+newHostKey) != string(read(t, own)) || !strings.Contains(debugfs("cat /"+newHostKey+".pub"), "ssh-ed25519 ") {
			t.Errorf("%s has another key", format)
		}
		for name, mode := range map[string]string{newHostKey: "0600", newHostKey + ".pub": "0644", "etc/ssh": "0755"} {
			if stat := debugfs("stat /" + name); !strings.Contains(stat, "Mode:  "+mode) || !strings.Contains(stat, "User:     0   Group:     0") {
				t.Errorf("%s: /%s is %s", format, name, stat)
			}
		}
		if out, err := exec.Command("e2fsck", "-f", "-n", at).CombinedOutput(); err != nil {
			t.Errorf("%s: the file system is damaged: %v: %s", format, err, out)
		}
		if !bytes.Equal(before, read(t, built)) {
			t.Errorf("%s: what Nix built was changed", format)
		}
	}
	if asked := string(read(t, m.dir+"/nix")); !strings.Contains(asked, `#nixosConfigurations."web01".config.system.build.images."raw-efi"`) || strings.Contains(asked, "OPENSSH") {
		t.Error(asked)
	}
	for format, say := range map[string]string{"sd-card": "zstdcat " + m.out + "/sd-image/web01.img.zst | sudo dd of=", "raw": "sudo dd if=" + m.out + "/web01.raw of="} {
		if got := m.image("web01", "--format", format, "--no-host-key"); !strings.Contains(got, say) || !strings.Contains(got, "made at the first boot; on the console: ssh-keygen -lf") || !strings.Contains(got, "exit status 0") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// The kernel unpacks the archive behind the initrd that was there; cpio reads it as the
// kernel does.
func TestImageKexec(t *testing.T) {
	m := newImageRig(t)
	initrd := []byte("an initrd of an odd length.")
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for _, f := range []struct{ name, text string }{{"kexec_nixos", "#!/bin/sh\n"}, {kexecInitrd, string(initrd)}} {
		mustDo(t, w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o755}))
		w.Write([]byte(f.text))
	}
	mustDo(t, w.Close())
	mustDo(t, zip.Close())
	m.write("out/installer-kexec.tar.gz", b.String())
	file := filepath.Join(m.dir, "k.tar.gz")
	got := m.image("web01", "--format", "kexec", "--output", file)
	if !strings.Contains(got, "tar -C / -xf k.tar.gz && /kexec_nixos") || !strings.Contains(got, "Line for known_hosts: ADDRESS ssh-ed25519 ") {
		t.Fatal(got)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "-xf", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw := read(t, filepath.Join(dir, kexecInitrd))
	rest := bytes.TrimLeft(raw[len(initrd):], "\x00")
	if !bytes.HasPrefix(raw, initrd) || (len(raw)-len(rest))%4 != 0 {
		t.Fatalf("the initrd is %q", raw)
	}
	cmd := exec.Command("cpio", "--extract", "--quiet", "--directory", dir)
	cmd.Stdin = bytes.NewReader(rest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	key := filepath.Join(dir, imageKey)
	signer, err := ssh.ParsePrivateKey(read(t, key))
	if err != nil || !strings.Contains(got, ssh.FingerprintSHA256(signer.PublicKey())) {
		t.Errorf("not the key that was printed: %v", err)
	}
	if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if unit := string(read(t, filepath.Join("..", "..", "nix", "kexec.nix"))); strings.Count(unit, imageKey) != 2 {
		t.Errorf("nix/kexec.nix does not read %s", imageKey)
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
		"no root": {func(m *imageRig) {
			diskOf(m.t, m.out+"/web01.raw", "data", true)
			raw := read(m.t, m.out+"/web01.raw")
			mustDo(m.t, os.WriteFile(m.out+"/web01.raw", raw[:4096*512+1024], 0o644))
		}, []string{"web01", "--format", "raw"}, "has 0 ext4 file systems, and none of them is known to be the root"},
		"full root": {func(m *imageRig) {
			diskOf(m.t, m.out+"/web01.raw", "nixos", true)
			fill := filepath.Join(m.dir, "fill")
			mustDo(m.t, os.WriteFile(fill, bytes.Repeat([]byte("x"), 20<<20), 0o644))
			exec.Command("debugfs", "-w", "-R", "write "+fill+" /fill", m.out+"/web01.raw?offset=2097152").Run()
		}, []string{"web01", "--format", "raw"}, "is its root file system full?"},
		"no disk": {func(m *imageRig) { m.write("out/web01.raw", "an image") }, []string{"web01", "--format", "raw"}, "no partition table"},
		"both":    {nil, []string{"web01", "--no-host-key", "--host-key", "x"}, "give one"},
		"no initrd": {func(m *imageRig) {
			var b bytes.Buffer
			zip := gzip.NewWriter(&b)
			tar.NewWriter(zip).Close()
			zip.Close()
			m.write("out/a.tar.gz", b.String())
		}, []string{"web01", "--format", "kexec"}, "has no " + kexecInitrd},
		"bad key": {func(m *imageRig) { m.write("out/iso/a.iso", "x") }, []string{"web01", "--host-key", "/dev/null"}, "not an ed25519 private key"},
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

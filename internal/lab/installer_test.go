package lab

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
)

// The stand-ins of the installer keep the contracts of the real tools. The disk is
// a file, the file system on it is a tar archive that is written when it is
// unmounted, and Debian's own /usr is there already; everything else that boots
// comes from that file.
var installerTools = map[string]string{
	"lsblk": `test "$*" = "--json --output PATH,TYPE,RO,FSTYPE,PTTYPE,MOUNTPOINT /dev/vda"
type=null; [ "$(head -c 4096 /lab/disk.img | tr -d '\0' | wc -c)" = 0 ] || type='"ext4"'
echo '{"blockdevices":[{"path":"/dev/vda","fstype":'$type',"type":"disk","ro":false,"pttype":null,"mountpoint":null}]}'`,
	"disko": `test "$1 $2 $3 $4 $5 $6" = "--mode destroy,format,mount --yes-wipe-all-disks --root-mountpoint /mnt --flake"
test "$(nix eval --raw "${7%#*}#nixosConfigurations.${7#*#}.config.disko.devices.disk.main.device")" = /dev/vda
head -c 4096 /dev/zero > /lab/disk.img; rm -rf /lab/volume; mkdir /lab/volume; mkdir -p /mnt
mount --bind /lab/volume /mnt; mkdir /mnt/boot`,
	"nixos-install": `test "$1 $2 $3" = "--root /mnt --flake"; test "$5 $6" = "--no-root-passwd --no-channel-copy"
test "$(stat -c %a /mnt/etc/ssh/ssh_host_ed25519_key)" = 600
top=$(nix build --no-link --json "${4%#*}#nixosConfigurations.${4#*#}.config.system.build.toplevel" | jq -r '.[0].outputs.out')
nix copy --no-check-sigs --to /mnt "$top"
nix-env --store /mnt -p /mnt/nix/var/nix/profiles/system --set "$top"
touch /mnt/etc/NIXOS; mkdir -p /mnt/var/lib
exec unshare -m sh -ec 'mount --bind /mnt/nix /nix; mount --bind /mnt/boot /boot; "$1/install-bootloader" "$1"' sh "$top"`,
	"umount": `tar -C /mnt -cf /lab/disk.img .; exec /usr/bin/umount "$@"`,
}

// A flake that says what the installer must know, beside the system.
const installableFlake = `{
  outputs = { self }: {
    nixosConfigurations.lab.config = {
      system.build.toplevel = import ./lab/toplevel.nix (import ./hosts/lab);
      disko.devices.disk.main.device = "/dev/vda";
      services.pullnode.settings.keys = { sources = [ @sources@ ]; files = [ ]; recipient = null; };
    };
  };
}
`

// TestInstallerToNode is the straight path: a machine without a system installs
// itself from the signed branch, boots what is on its disk, and deploys the next
// signed commit. Before that, whatever is refused leaves the disk as it was.
func TestInstallerToNode(t *testing.T) { each(t, installerToNode) }

func installerToNode(t *testing.T, release string) {
	bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/usr/bin/pullnode": bin}
	dir := t.TempDir()
	for name, body := range installerTools {
		files["/opt/lab/"+name] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, h := boot(t, Options{Release: release, Name: "lab", Network: true, Files: files})
	n := &node{t: t, ctx: ctx, h: h, r: gitrig.New(t)}
	n.explain()
	n.web = serve(t, h.Gateway, n.r.Handler())
	n.r.Signers("alice")
	intro := n.r.Introduction(n.r.Commit("alice", "introduce"), "alice")
	n.settings = nodeSettings(n.web.url("/repo"), intro)
	raw, err := json.Marshal(map[string]any{"hostName": "installer", "url": n.web.url("/repo"), "introduction": intro})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{"/etc/pullnode/install.json": raw, "/lab/disk.img": make([]byte, 1<<20)} {
		if err := h.Write(path, text); err != nil {
			t.Fatal(err)
		}
	}

	good := n.installable("alice", "", "a machine")
	n.refusesToInstall("unsigned", "may not be installed: UNSIGNED", func() { n.installable("", "", "planted") })
	n.r.Git("reset", "-q", "--hard", good)
	n.refusesToInstall("missing key", "/var/lib/host.age", func() {
		secret, err := os.ReadFile("../../hosts/example/secrets.yaml")
		if err != nil {
			t.Fatal(err)
		}
		n.r.Write("hosts/lab/secrets.yaml", string(secret))
		n.installable("alice", `{ type = "file"; path = "/var/lib/host.age"; }`, "a secret")
	})
	n.r.Git("reset", "-q", "--hard", good)
	n.refusesToInstall("data", "the disks have data on them; none was touched", func() {
		if err := h.Write("/lab/disk.img", []byte(strings.Repeat("photos ", 1<<16))); err != nil {
			t.Fatal(err)
		}
	})

	if out, err := n.install("--wipe", "--yes-wipe=lab"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := h.Halt(ctx); err != nil {
		t.Fatal(err)
	}
	n.fromDisk()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	n.deployed(good)
	if got := n.state().Trusted.Commit; got != good {
		t.Errorf("the trust floor is %s, want %s", got, good)
	}
	n.deployed(n.push(Config{}, "the next commit"))
}

func (n *node) install(args ...string) (string, error) {
	return n.h.Run(n.ctx, append([]string{"env", "PATH=/opt/lab:/usr/sbin:/usr/bin:/sbin:/bin", "pullnode", "install", "lab", "--no-reboot", "--wait", "0s"}, args...)...)
}

// installable commits a system that the installer can put on a disk.
func (n *node) installable(key, sources, message string) string {
	n.t.Helper()
	for path, text := range FlakeFiles("lab", n.system(Config{})) {
		n.r.Write(path, text)
	}
	n.r.Write("flake.nix", strings.Replace(installableFlake, "@sources@", sources, 1))
	n.r.Write("hosts/lab/host.nix", "{ }\n")
	n.r.Write("hosts/lab/disko.nix", "{ }\n")
	return n.r.Commit(key, message)
}

func (n *node) refusesToInstall(name, why string, arrange func()) {
	n.t.Helper()
	arrange()
	before := n.disk()
	out, err := n.install()
	if err == nil || !strings.Contains(err.Error(), why) {
		n.t.Errorf("%s: %v\n%s\nwant %q", name, err, out, why)
	}
	if n.disk() != before {
		n.t.Errorf("%s: the disk was written to", name)
	}
}

func (n *node) disk() [32]byte {
	n.t.Helper()
	raw, err := n.h.Read("/lab/disk.img")
	if err != nil {
		n.t.Fatal(err)
	}
	return sha256.Sum256(raw)
}

// fromDisk makes the machine, which is off, have what its disk has and nothing that
// the installer left beside it.
func (n *node) fromDisk() {
	n.t.Helper()
	image := filepath.Join(n.t.TempDir(), "disk.img")
	raw, err := n.h.Read("/lab/disk.img")
	if err == nil {
		err = os.WriteFile(image, raw, 0o600)
	}
	for _, dir := range []string{"nix", "boot", "lab", "opt/lab", "mnt", "etc/pullnode", "var/lib/pullnode"} {
		if err == nil {
			err = os.RemoveAll(filepath.Join(n.h.Root, dir))
		}
	}
	if err != nil {
		n.t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", n.h.Root, "-xpf", image).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
}

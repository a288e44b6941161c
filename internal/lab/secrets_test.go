package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pullnode/internal/gitrig"
	"pullnode/keysrc/keysrctest"
)

const (
	sshHostKey = "/etc/ssh/ssh_host_ed25519_key"
	deployKey  = "/var/lib/keys-deploy"
	spareKey   = "/var/lib/spare.age"
)

// installSh stands in for sops-install-secrets in the unit that sops-nix has for it:
// it decrypts with the identity file that the host's configuration names, all or
// nothing. sops-nix has an identity file of its own for SSH keys.
const installSh = `set -eu
umask 077
mkdir -p /run/secrets.d/new
age -d -i "$1" -o /run/secrets.d/new/greeting /etc/secret.age
rm -rf /run/secrets.d/1
mv /run/secrets.d/new /run/secrets.d/1
ln -sfn /run/secrets.d/1 /run/secrets
`

// appUnit needs a secret; the module adds that it waits.
const appUnit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'cat /run/secrets/greeting > /run/app-has'\n[Install]\nWantedBy=multi-user.target\n"

// cutUnit and netUnit make the network come late and only after sysinit.target, as
// NetworkManager and dhcpcd do.
const cutUnit = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/env ip link set host0 down\n" +
	"[Install]\nWantedBy=sysinit.target\n"

const netUnit = "[Unit]\nBefore=network-online.target\nAfter=network.target no-network.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n" +
	"ExecStart=/bin/sh -c 'sleep 2; ip link set host0 up && ip route replace default via GATEWAY'\n[Install]\nWantedBy=network-online.target\n"

// secretHost is a machine whose systems differ in where the key comes from.
type secretHost struct {
	*keyNode
	hostKey string // here; the machine has it too
	machine string // age recipient of hostKey
	server  *keyServer
	intro   string
	repo    *gitrig.Repo // the private one with the host's key
}

func newSecretHost(t *testing.T, release string) *secretHost {
	t.Helper()
	needLab(t)
	bin, err := GoBinary(t.Context(), "pullnode/cmd/pullnode")
	if err != nil {
		t.Fatal(err)
	}
	ageCLI, err := exec.LookPath("age")
	if err != nil {
		t.Fatal("this test needs age: apt-get install age")
	}
	n := &secretHost{keyNode: &keyNode{&node{t: t, r: gitrig.New(t)}, newID(t)}, repo: gitrig.New(t)}
	n.hostKey = n.r.Key("machine")
	n.machine = keysrctest.SSHRecipient(t, n.hostKey)
	pub, err := os.ReadFile(n.hostKey + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(t.TempDir(), "secret.age")
	cmd := exec.Command(ageCLI, "-r", n.id.Recipient().String(), "-r", n.machine, "-r", strings.TrimSpace(string(pub)), "-o", sealed)
	cmd.Stdin = strings.NewReader("for this host")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("age: %v\n%s", err, out)
	}
	n.ctx, n.h = boot(t, Options{Release: release, Name: "lab", Network: true, Files: map[string]string{
		"/usr/bin/pullnode": bin, "/usr/bin/age-plugin-pullnode": bin, "/usr/bin/age": ageCLI,
		sshHostKey: n.hostKey, sshHostKey + ".pub": n.hostKey + ".pub", "/etc/secret.age": sealed, deployKey: n.r.Key("deploy")}})
	n.explain()
	n.server = newKeyServer(t, n.r, n.h.Gateway, n.hostKey, n.id.String())
	if err := n.h.Write("/etc/install.sh", []byte(installSh)); err != nil {
		t.Fatal(err)
	}
	n.sh("chmod 600 " + sshHostKey + " " + deployKey)
	n.r.Signers("alice")
	n.intro = n.r.Introduction(n.r.Commit("alice", "begin"), "alice")
	return n
}

// keysOf gives the setting "keys" with these sources.
func (n *secretHost) keysOf(recipient string, sources ...map[string]any) map[string]any {
	list := []any{}
	for _, s := range sources {
		list = append(list, s)
	}
	k := map[string]any{"sources": list}
	if recipient != "" {
		k["recipient"] = recipient
	}
	return k
}

// system makes the system that the module renders for these keys the next one to
// boot. more are options of services.pullnode.
func (n *secretHost) system(gen string, keys map[string]any, more map[string]any) {
	n.t.Helper()
	r := render(n.t, n.options(keys, more))
	u := r.units(n.t)
	key := r.Sops.Age.KeyFile
	if key == "" {
		key = r.Sops.Age.SSHKeyPaths[0]
	}
	u["sops-install-secrets.service"] += "[Service]\nExecStart=/bin/sh /etc/install.sh " + key + "\n"
	u["app.service"] = appUnit + u["app.service"]
	u["no-network.service"], u["usb-here.service"], u["late-network.service"] = cutUnit, usbUnit, strings.Replace(netUnit, "GATEWAY", n.h.Gateway, 1)
	top := build(n.ctx, n.t, n.h, Config{Gen: gen, Units: u})
	if err := n.h.Install(n.ctx, top); err != nil {
		n.t.Fatal(err)
	}
	n.use(keys, more)
}

func (n *secretHost) options(keys map[string]any, more map[string]any) map[string]any {
	o := map[string]any{"enable": true, "needSecrets": []string{"app"}, "settings": n.wholeSettings(keys)}
	for k, v := range more {
		o[k] = v
	}
	return o
}

func (n *secretHost) wholeSettings(keys map[string]any) map[string]any {
	return map[string]any{"hostName": "lab", "url": "/srv/repo", "introduction": n.intro, "keys": keys}
}

// use has the keys process ask other sources, without another system.
func (n *secretHost) use(keys map[string]any, more map[string]any) {
	n.t.Helper()
	n.configure(render(n.t, n.options(keys, more)).settings(n.t))
}

func (n *secretHost) boot() {
	n.t.Helper()
	if err := n.h.Reboot(n.ctx); err != nil {
		n.t.Fatal(err)
	}
}

// here wants the secret to be there and the application to have it, in an orderly
// boot of a machine that is up.
func (n *secretHost) here() {
	n.t.Helper()
	n.until("the application has its secret", "test -e /run/app-has && systemctl is-active -q app.service pullnode-secrets.target sops-install-secrets.service")
	if got := n.sh("cat /run/app-has"); got != "for this host" {
		n.t.Errorf("the application has %q", got)
	}
	n.orderly()
}

func (n *secretHost) orderly() {
	n.t.Helper()
	n.sh("systemctl is-active -q multi-user.target")
	if cycle := n.sh("journalctl -b --no-pager | grep -iE 'ordering cycle|to break' || true"); cycle != "" {
		n.t.Errorf("the boot has %s", cycle)
	}
}

// missing wants a machine that is up, without the secret and what needs it.
func (n *secretHost) missing(say string) {
	n.t.Helper()
	n.until("the machine is up without the key", "systemctl is-active -q multi-user.target && test -z \"$(systemctl list-jobs --no-legend)\"")
	n.sh("! systemctl is-active -q app.service && ! test -e /run/secrets && ! test -e /run/app-has")
	if state, _ := n.h.Run(n.ctx, "systemctl", "is-system-running"); strings.TrimSpace(state) != "degraded" {
		n.t.Errorf("the machine is %s", state)
	}
	n.log("pullnode-await-key", say)
	n.orderly()
}

// at is when a unit became active in this boot.
func (n *secretHost) at(unit string) (us int64) {
	n.t.Helper()
	if _, err := fmt.Sscan(property(n.ctx, n.t, n.h, unit, "ActiveEnterTimestampMonotonic"), &us); err != nil || us == 0 {
		n.t.Errorf("%s was never active: %v", unit, err)
	}
	return us
}

// ask has the secrets installed anew, from nothing, and gives what the keys process
// said while they were not.
func (n *secretHost) ask() (failed bool, log string) {
	n.t.Helper()
	n.sh("systemctl stop app.service pullnode-secrets.target sops-install-secrets.service pullnode-await-key.service pullnode-keys.service; systemctl reset-failed; rm -rf /run/secrets* /run/app-has")
	since := n.sh("date +%s.%N | cut -c1-14")
	_, err := n.h.Run(n.ctx, "systemctl", "start", "pullnode-secrets.target")
	return err != nil, n.sh("journalctl --no-pager -o cat -u pullnode-keys --since @" + since)
}

// TestInstalledNodeSecrets shows how secrets get into a machine at boot and after it:
// from its own SSH key, a credential, a stick, a key server and a private repository,
// at once and late, with units as the NixOS module has them; what a source that says
// no does; a boot that waits; and that the key is nowhere afterwards.
func TestInstalledNodeSecrets(t *testing.T) {
	each(t, func(t *testing.T, release string) {
		n := newSecretHost(t, release)
		for _, c := range []struct {
			name string
			run  func(*secretHost)
		}{{"early", early}, {"stick", late}, {"server", fromServer}, {"nowhere", nowhere}, {"denied", denied}, {"private repository", fromGit}, {"block-boot", blocked}, {"untouched", untouched}} {
			ok := t.Run(c.name, func(t *testing.T) {
				m := *n
				m.keyNode = &keyNode{&node{}, n.id}
				*m.node = *n.node
				m.t, m.server.t = t, t
				c.run(&m)
			})
			n.server.t = t
			if !ok {
				t.FailNow()
			}
		}
	})
}

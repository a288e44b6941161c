package lab

import (
	"reflect"

	"pullnode/nix/units"
)

func stickAt(label string) map[string]any {
	return map[string]any{"type": "usb", "label": label, "file": "keys/host.age", "wait": "2s"}
}

func fileAt(path string) map[string]any { return map[string]any{"type": "file", "path": path} }

// early: sources of the machine itself install secrets before sysinit.target.
func early(n *secretHost) {
	cred := map[string]any{"credentials": map[string]any{"host.age": map[string]any{"path": credential, "encrypted": false}}}
	if err := n.h.Write(credential, []byte(n.id.String()+"\n")); err != nil {
		n.t.Fatal(err)
	}
	n.sh("chmod 600 " + credential)
	before := func() {
		n.t.Helper()
		n.here()
		if sops, sysinit := n.at("sops-install-secrets.service"), n.at("sysinit.target"); sops > sysinit {
			n.t.Errorf("secrets %d us after sysinit.target", sops-sysinit)
		}
	}
	n.system("early", n.keysOf(n.id.Recipient().String(), stickAt("PULLNODE-KEY"), map[string]any{"type": "credential", "name": "host.age"}), cred)
	n.boot()
	before()
	n.log("pullnode-keys", "source=credential:host.age")

	n.use(n.keysOf(n.machine, map[string]any{"type": "ssh-host-key"}), nil)
	n.boot()
	before()
	n.log("pullnode-keys", "source=ssh-host-key:"+sshHostKey)
}

// late: the stick is in the pocket at boot.
func late(n *secretHost) {
	s, foreign := newStick(n.t, "PULLNODE-KEY", "keys/host.age", n.id.String()+"\n"), newStick(n.t, "HOLIDAY", "keys/host.age", "photos")
	n.use(n.keysOf(n.id.Recipient().String(), stickAt("PULLNODE-KEY"), fileAt(spareKey)), nil)
	n.boot()
	n.missing("no such stick is plugged in")
	foreign.plug(n.keyNode)
	s.plug(n.keyNode)
	n.here()
	n.log("pullnode-keys", "source=usb:PULLNODE-KEY/keys/host.age")
	s.pull(n.keyNode)
	foreign.pull(n.keyNode)
}

// fromServer: the key server is down at boot and back later.
func fromServer(n *secretHost) {
	n.system("late", n.keysOf(n.id.Recipient().String(), n.server.source(n.keyNode), n.gitSource("ssh://root@127.0.0.1/x"), fileAt(spareKey)), nil)
	n.sh("rm " + credential)
	n.use(n.keysOf(n.id.Recipient().String(), n.server.source(n.keyNode)), nil)
	n.boot()
	n.missing("no key: server:" + n.server.addr)
	n.sh("systemctl is-active pullnode.service pullnode-keys.service")
	n.server.on()
	n.here()
	if sops, online := n.at("sops-install-secrets.service"), n.at("network-online.target"); sops < online {
		n.t.Errorf("secrets %d us before network-online.target", online-sops)
	}
}

// blocked: the boot waits for the key, lets people in, and has a way out.
func blocked(n *secretHost) {
	keys := n.keysOf(n.id.Recipient().String(), fileAt(spareKey))
	keys["onMissing"] = "block-boot"
	n.system("block", keys, nil)
	start := func() {
		n.t.Helper()
		if err := n.h.Halt(n.ctx); err != nil {
			n.t.Fatal(err)
		}
		if err := n.h.StartOnly(n.ctx); err != nil {
			n.t.Fatal(err)
		}
		n.until("the boot waits", "test activating = \"$(systemctl show --value -p ActiveState pullnode-await-key.service)\" && systemctl is-active -q pullnode.service && journalctl -b -o cat -u pullnode-await-key | grep -q 'the boot waits for this host'")
		n.sh("! systemctl is-active -q multi-user.target && ! systemctl is-active -q app.service")
	}
	start()
	// A wrong key does not let it through.
	if err := n.h.Write(spareKey, []byte(newID(n.t).String())); err != nil {
		n.t.Fatal(err)
	}
	n.sh("chmod 600 " + spareKey)
	n.until("the wrong key is named", "journalctl -b -o cat -u pullnode-await-key | grep -q 'wrong key'")
	n.sh("! systemctl is-active -q multi-user.target")
	n.sh("printf %s " + n.id.String() + " > " + spareKey)
	n.until("the boot goes on", "systemctl is-active -q multi-user.target")
	n.here()

	n.sh("rm " + spareKey)
	start()
	n.sh("systemctl stop pullnode-await-key.service")
	n.until("the boot goes on without", "systemctl is-active -q multi-user.target")
	n.sh("! systemctl is-active -q app.service && ! test -e /run/secrets")
	// The boot is over: nothing waits any more.
	n.sh("! timeout 60 systemctl start pullnode-secrets.target")

	n.h.KernelArgs = []string{"systemd.mask=pullnode-await-key.service"}
	n.boot()
	n.sh("systemctl is-active -q multi-user.target && ! systemctl is-active -q app.service")
	n.h.KernelArgs = nil
}

// untouched: a host with sops-nix and without key sources is as it was: sops-nix
// opens its secrets with the SSH host key, and nobody asks pullnode for anything.
func untouched(n *secretHost) {
	keys := n.keysOf("")
	beside, alone := render(n.t, n.options(keys, map[string]any{"needSecrets": []string{}})), units.Override{}
	evaluate(n.t, &alone, "-A", "sopsAlone")
	if got := beside.Services["sops-install-secrets"]; len(alone.WantedBy) == 0 || !reflect.DeepEqual(got, alone) {
		n.t.Errorf("the unit of sops-nix is %+v, without pullnode %+v", got, alone)
	}
	n.system("untouched", keys, map[string]any{"needSecrets": []string{}})
	n.boot()
	n.until("the secret is there", "test -e /run/app-has")
	n.orderly()
	if sops, sysinit := n.at("sops-install-secrets.service"), n.at("sysinit.target"); sops > sysinit {
		n.t.Errorf("secrets %d us after sysinit.target", sops-sysinit)
	}
	for _, unit := range []string{"pullnode-keys.service", "pullnode-await-key.service", "pullnode-secrets.target", "pullnode-keyfetch.socket", "pullnode-handoff.service"} {
		if state := property(n.ctx, n.t, n.h, unit, "ActiveState"); state != "inactive" {
			n.t.Errorf("%s is %s", unit, state)
		}
	}
	n.sh("! test -e /run/pullnode-handoff && systemctl is-active -q pullnode.service")
}

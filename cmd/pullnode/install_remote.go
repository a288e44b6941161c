package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/config"
	"pullnode/internal/install"
	"pullnode/sync"
)

// remoteTarget is a machine that is installed over SSH, by nixos-anywhere.
type remoteTarget struct {
	cloneTree
	target, key string
	vmTest      bool
	pass        []string // for nixos-anywhere
	login       install.Login
	pin         *install.Pin
	keys        []ssh.PublicKey // the machine's as it is now
}

func (r *remoteTarget) flags(fs *flag.FlagSet) {
	r.cloneTree.flags(fs)
	fs.StringVar(&r.target, "target", "", "install over SSH the machine at root@ADDRESS, which runs any Linux or the installer")
	fs.StringVar(&r.key, "target-key", "", "the target's SSH host key: SHA256:FINGERPRINT or a file (*.pub or known_hosts); default: ask")
	fs.BoolVar(&r.vmTest, "vm-test", false, "try disks and system in a virtual machine, by nixos-anywhere --vm-test; touches no target")
}

// ours are options of nixos-anywhere that would take another tree or machine than
// the one that was verified, or that pullnode gives itself.
var ours = []string{"-f", "--flake", "--target-host", "-s", "--store-paths", "--extra-files", "--vm-test", "--from", "--copy-host-keys"}

// settings says where the commit comes from: on the image the settings there, with
// --target the clone, unless --config names settings.
func (i *installer) settings(conf string, far *remoteTarget) (err error) {
	if far.target != "" || far.vmTest {
		i.remote = far
		if err := far.parse(); err != nil {
			return err
		}
	} else if len(far.pass) > 0 {
		return usageError("what stands behind -- is for nixos-anywhere, with --target")
	}
	if i.remote != nil && conf == "" {
		far.onMain()
		i.Dir = far.dir
		return nil
	}
	if conf == "" {
		conf = installSettings
	}
	if i.conf, err = config.Load(conf); err != nil {
		return hint(err, "this command is for the installer image; elsewhere: pullnode install "+i.Host+" --target root@ADDRESS")
	}
	if far.branch != "" {
		i.conf.Branch = far.branch
	}
	i.Dir = i.conf.Dir
	return nil
}

func (r *remoteTarget) parse() (err error) {
	for _, a := range r.pass {
		if slices.Contains(ours, a) {
			return usageError("%s is not for passing through: pullnode gives nixos-anywhere the verified tree and the target itself", a)
		}
	}
	if r.vmTest {
		return nil
	}
	if r.login, err = install.ParseLogin(r.target); err != nil {
		return usageErr{err}
	}
	// Its own connections go the same way.
	for n := 0; n+1 < len(r.pass); n++ {
		switch v := r.pass[n+1]; r.pass[n] {
		case "-p", "--ssh-port":
			r.login.Port = v
		case "-i":
			r.login.Identity = v
		case "--ssh-option":
			r.login.Options = append(r.login.Options, v)
		}
	}
	return nil
}

// fromClone takes what the branch is at on the server, by way of the clone.
func (i *installer) fromClone(ctx context.Context, tree string) error {
	r := i.remote
	tip, err := r.published(ctx)
	if err != nil {
		return err
	}
	err = r.export(ctx, i.Host, tip, func(v sync.Verified) error { return i.accept(v, tree, sync.Limits{}) })
	if v, refused := asRefusal(err); refused {
		return mayNot(v)
	}
	return err
}

// overSSH is the whole way with --target. The machine is not changed before
// everything else was asked.
func (i *installer) overSSH(ctx context.Context) (err error) {
	r := i.remote
	if r.vmTest {
		if err := i.authenticate(ctx); err != nil {
			return err
		}
		return driveTool(ctx, append(os.Environ(), nixConfig()), append([]string{"nixos-anywhere", "--flake", i.Flake(), "--vm-test"}, r.pass...)...)
	}
	if err := i.meet(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.keepKey(err)) }()
	facts, err := i.ready(ctx)
	if err != nil {
		return err
	}
	if err := i.mayWipe(ctx, facts); err != nil {
		return err
	}
	if err := i.carryTrust(i.staging); err != nil {
		return err
	}
	// The installer that kexec starts keeps the machine's key; what is installed has
	// the new one.
	pin, err := install.NewPin(filepath.Join(i.work, "anywhere"), append(r.keys, i.newKey)...)
	if err != nil {
		return err
	}
	i.Say("installing %s on %s by nixos-anywhere", i.Host, r.login)
	if !i.reboot && slices.Contains(phases(r.pass), "reboot") {
		r.pass = append(r.pass, "--phases", strings.Join(slices.DeleteFunc(phases(r.pass), func(p string) bool { return p == "reboot" }), ","))
	}
	argv := append([]string{"nixos-anywhere", "--flake", i.Flake(), "--target-host", r.login.String(), "--extra-files", i.staging}, r.pass...)
	watched, stop := context.WithCancelCause(ctx)
	go pin.Watch(watched, stop)
	err = driveTool(watched, pin.Env(append(os.Environ(), nixConfig())), argv...)
	stop(nil)
	if err := pin.Err(err); err != nil {
		return hint(fmt.Errorf("nixos-anywhere: %w", err), "the same command starts over; after kexec the machine runs an installer from memory until it is rebooted, and what is on its disks then is data: --wipe")
	}
	switch did := phases(r.pass); {
	case !slices.Contains(did, "install"):
		i.recipientPrinted = i.generated // the machine has no key yet
		return hint(fmt.Errorf("%s is not installed: nixos-anywhere was told to do %s alone", i.Host, strings.Join(did, ", ")),
			"the same command without --phases installs it")
	case !slices.Contains(did, "reboot") || !i.reboot:
		i.recipientPrinted = false // the machine has the key
		i.Say("installed %s at %s; it was not rebooted", i.Host, i.verified.Commit().ID.Short())
		return nil
	}
	i.recipientPrinted = false
	i.Say("installed %s at %s; waiting for its first report", i.Host, i.verified.Commit().ID.Short())
	if pin, err = install.NewPin(filepath.Join(i.work, "installed"), i.newKey); err != nil {
		return err
	}
	return i.firstSync(ctx, pin, facts.Ports)
}

// phases are what nixos-anywhere does of an installation, by what is passed through.
func phases(pass []string) []string {
	did := []string{"kexec", "disko", "install", "reboot"}
	for n, a := range pass {
		switch {
		case a == "--no-reboot":
			did = did[:3:3]
		case a == "--stop-after-disko":
			did = did[:2:2]
		case a == "--phases" && n+1 < len(pass):
			did = strings.Split(pass[n+1], ",")
		}
	}
	return did
}

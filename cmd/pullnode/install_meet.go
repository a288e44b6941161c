package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"pullnode/internal/agent"
	"pullnode/internal/install"
)

// probe says what runs on the target. A machine that pullnode keeps has its state;
// the installer has only the program.
// NixOS may go by another name (system.nixos.distroId).
const probe = `. /etc/os-release 2>/dev/null
case " ${ID:-unknown} ${ID_LIKE:-} " in *" nixos "*) ID=nixos ;; esac
if test -e /etc/NIXOS; then ID=nixos; fi
echo "system ${ID:-unknown} ${VARIANT_ID:-none}"
for p in /var/lib/pullnode /nix/var/pullnode /run/pullnode/status.json; do if test -e "$p"; then echo "node $p"; fi; done
uname -s -m`

// meet pins the target's host key, and refuses a machine that has an owner.
func (i *installer) meet(ctx context.Context) (err error) {
	r := i.remote
	if r.keys, err = i.targetKeys(ctx); err != nil {
		return err
	}
	if r.pin, err = install.NewPin(filepath.Join(i.work, "target"), r.keys...); err != nil {
		return err
	}
	out, err := i.Run(ctx, r.pin.Command(r.login, probe)...)
	if err = r.pin.Err(err); err != nil {
		return fmt.Errorf("%s: %w; nothing was changed there", r.login, err)
	}
	words := strings.Fields(string(out))
	if len(words) < 3 || words[0] != "system" {
		return fmt.Errorf("%s does not say which system it runs; nothing was changed there", r.login)
	}
	live := strings.Contains(words[2], "installer")
	switch {
	case strings.Contains(string(out), "\nnode "):
		return hint(fmt.Errorf("%s is run by pullnode already; nothing was changed there", r.login), "to install it anew, boot the installer on it: pullnode image "+i.Host+" --format kexec")
	case words[1] == "nixos" && !live:
		return hint(fmt.Errorf("%s runs NixOS already; nothing was changed there", r.login), "docs/install.md: a machine that runs NixOS gets the module, and keeps its data")
	}
	i.There, i.Leaves, i.Again = r.pin.Over(r.login, i.Run), !live, live
	return nil
}

// targetKeys gives the host keys to pin: those that were named, or the one whose
// fingerprint somebody typed who sees the machine's console.
func (i *installer) targetKeys(ctx context.Context) ([]ssh.PublicKey, error) {
	r := i.remote
	want := r.key
	if want != "" && !strings.HasPrefix(want, "SHA256:") {
		return install.ReadHostKeys(ctx, want, r.login, quietTool)
	}
	keys, err := install.ScanHostKeys(ctx, r.login, quietTool)
	if err != nil {
		return nil, err
	}
	if want == "" {
		i.Say("%s must prove that it is the right machine. Its console, or whoever runs it, gives the", r.login)
		i.Say("fingerprint: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
		if want, err = i.ask(ctx, "Fingerprint (SHA256:...): "); err != nil {
			return nil, err
		}
	}
	for _, k := range keys {
		if ssh.FingerprintSHA256(k) == want {
			return []ssh.PublicKey{k}, nil
		}
	}
	if want == "" {
		return nil, hint(errors.New("no fingerprint was given; nothing was sent to the target"), "pullnode install "+i.Host+" --target "+r.login.String()+" --target-key SHA256:...")
	}
	return nil, fmt.Errorf("%s has no host key %s; nothing was sent to it", r.login, safe(want))
}

// firstSync waits until the new node says that it runs what was signed. Only the
// key that was installed is talked to.
func (i *installer) firstSync(ctx context.Context, pin *install.Pin, ports []int) error {
	login := i.remote.login
	login.User = "root" // as nixos-anywhere does after kexec
	if len(ports) > 0 {
		login.Port = strconv.Itoa(ports[0]) // the old system may have had another
	}
	last, deadline := "", time.Now().Add(i.wait)
	for {
		out, err := quietTool(ctx, pin.Command(login, "pullnode status --json")...)
		var s agent.Status
		at := "not reachable yet"
		// A node that is not well exits with another status, and tells all the same.
		if json.Unmarshal(out, &s) == nil && s.Sync != "" {
			at = s.Sync + ", " + s.Health
			if len(s.Why) > 0 {
				at += ": " + safe(s.Why[0])
			}
		} else if pin.Other() != "" {
			return hint(fmt.Errorf("%s shows the SSH host key %s, not the installed one", login, pin.Other()), "see its console: the new system may not have booted")
		} else if err != nil && strings.Contains(err.Error(), "Permission denied (") {
			// It has the installed host key, so it is the new system that says so.
			return hint(fmt.Errorf("%s is installed, and does not let you in as root, so its first report is not known", i.Host), "on it: pullnode status")
		} else if err != nil {
			at += ": " + err.Error()
		}
		if at != last {
			last = at
			i.Say("%s: %s", i.Host, at)
		}
		if s.Sync == "in-sync" {
			return nil
		}
		if time.Now().After(deadline) {
			return hint(fmt.Errorf("%s is installed and not in sync after %s: %s", i.Host, i.wait, at), "ssh "+login.String()+" pullnode doctor")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(i.poll):
		}
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
)

// carried are the sources that take a key which was made elsewhere.
var carried = []string{"file", "usb", "credential", "tpm", "git", "server", "yubikey"}

func checkKind(kind, host string) error {
	switch {
	case slices.Contains(carried, kind):
		return nil
	case kind == "ssh-host-key":
		return hint(usageError("the key of ssh-host-key is that of the host's sshd"), "on the host: pullnode key enroll", "for a host that is to come: pullnode new-host "+host+" --host-key FILE")
	}
	return usageError("--for %q is no source; there are %s", kind, strings.Join(carried, ", "))
}

// besideTo is whereTo for a key that the host is to have beside another: a file holds
// both, one a line, elsewhere it has a place of its own.
func besideTo(kind, host, path string) string {
	s := whereTo(kind, host, path)
	if kind == "file" {
		return strings.Replace(s, "cat > ", "cat >> ", 1)
	}
	return strings.ReplaceAll(s, "/var/lib/host.", "/var/lib/host-new.")
}

// whereTo says what to do with the private key: docs/keys.md has each source.
func whereTo(kind, host, path string) string {
	from := " < " + path
	if path == "-" {
		from = "      # with the key on its standard input"
	}
	line := func(format string, args ...any) string { return "  " + fmt.Sprintf(format, args...) + "\n" }
	var s string
	switch kind {
	case "file":
		s = line("ssh root@%s 'umask 077; cat > /var/lib/host.age'%s", host, from)
		s += line(`keys.sources = [ { type = "file"; path = "/var/lib/host.age"; } ];`)
	case "usb":
		s = line("the file is %s: it goes onto the stick, in a folder of your choice; unmount it", path)
		s += line(`keys.sources = [ { type = "usb"; label = "PULLNODE-KEY"; file = "%s.age"; } ];`, host)
		return s
	case "credential":
		s = line("ssh root@%s systemd-creds encrypt --name=host.age - /var/lib/host.age.cred%s", host, from)
		s += line(`keys.sources = [ { type = "credential"; name = "host.age"; } ];`)
	case "tpm":
		s = line("ssh root@%s pullnode key seal /var/lib/host.tpm%s", host, from)
		s += line(`keys.sources = [ { type = "tpm"; path = "/var/lib/host.tpm"; } ];`)
	case "git":
		s = line("ssh-keyscan -t ed25519 %s | ssh-to-age | age -R - -o keys/%s.age.age %s   # in the repository of keys", host, host, path)
		s += line(`keys.sources = [ { type = "git"; file = "keys/%s.age.age"; unlock = "ssh-host-key"; ... } ];`, host)
	case "server":
		s = line("ssh root@keyserver pullnode keyserver add %s --unlock ssh-host-key --ssh-key \"'ssh-ed25519 AAAA...'\"%s", host, from)
		s += line(`keys.sources = [ { type = "server"; url = "https://..."; ... } ];`)
	case "yubikey":
		s = line("age -r age1tag1... -o %s.age.age %s   # for the slot of the YubiKey", host, path)
		s += line(`keys.sources = [ { type = "yubikey"; path = "/var/lib/host.age.age"; ... } ];`)
	}
	if path != "-" {
		s += line("shred -u %s   # when the host has it", path)
	}
	return s
}

package install

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// The kernel's arguments that set up the network of an installer.
const (
	argIP        = "pullnode.ip"        // ADDRESS/PREFIX[,GATEWAY[,DNS...]]
	argInterface = "pullnode.interface" // which the address is for; any without it
	argWifi      = "pullnode.wifi"      // SSID[,PASSPHRASE]
)

// Connections gives the profiles of NetworkManager that the kernel's command line
// asks for, by file name; none where it asks for nothing. A mistake in one argument is
// an error and leaves the other in force.
//
// Format: nm-settings-keyfile(5).
func Connections(cmdline string) (files map[string]string, err error) {
	files = map[string]string{}
	args := kernelArgs(cmdline)
	if v, ok := args[argIP]; ok {
		text, e := wired(v, args[argInterface])
		if e != nil {
			err = fmt.Errorf("%s=%s: %w", argIP, v, e)
		} else {
			files["pullnode-ip.nmconnection"] = text
		}
	}
	if v, ok := args[argWifi]; ok {
		text, e := wifi(v)
		if e != nil {
			// Not the value: it has a passphrase.
			err = errors.Join(err, fmt.Errorf("%s: %w", argWifi, e))
		} else {
			files["pullnode-wifi.nmconnection"] = text
		}
	}
	return files, err
}

// kernelArgs splits as the kernel does: at spaces that are not between double quotes,
// which do not belong to the value (lib/cmdline.c, next_arg). The last one counts.
func kernelArgs(cmdline string) map[string]string {
	args, quoted := map[string]string{}, false
	for _, word := range strings.FieldsFunc(cmdline, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\n')
	}) {
		if name, value, ok := strings.Cut(strings.ReplaceAll(word, `"`, ""), "="); ok {
			args[name] = value
		}
	}
	return args
}

func wired(value, device string) (string, error) {
	parts := strings.Split(value, ",")
	address, err := netip.ParsePrefix(parts[0])
	if err != nil {
		return "", errors.New("want an address with the length of its prefix first, such as 192.0.2.10/24")
	}
	if strings.ContainsFunc(device, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == ';' }) {
		return "", fmt.Errorf("%s=%q is no name of an interface", argInterface, device)
	}
	line := "address1=" + address.String()
	var dns strings.Builder
	for i, p := range parts[1:] {
		a, err := netip.ParseAddr(p)
		if err != nil || a.Is4() != address.Addr().Is4() {
			return "", fmt.Errorf("%q is no address of the same family", p)
		}
		if i == 0 {
			line += "," + a.String()
		} else {
			dns.WriteString(a.String() + ";")
		}
	}
	if dns.Len() > 0 {
		line += "\ndns=" + dns.String()
	}
	mine, other := "ipv4", "ipv6"
	if !address.Addr().Is4() {
		mine, other = other, mine
	}
	connection := "[connection]\nid=pullnode-ip\ntype=ethernet\nautoconnect-priority=10\n"
	if device != "" {
		connection += "interface-name=" + device + "\n"
	}
	return fmt.Sprintf("%s\n[%s]\nmethod=manual\n%s\n\n[%s]\nmethod=auto\n", connection, mine, line, other), nil
}

func wifi(value string) (string, error) {
	ssid, pass, secured := strings.Cut(value, ",")
	if len(ssid) == 0 || len(ssid) > 32 {
		return "", errors.New("the name of the network has 1 to 32 bytes, and its passphrase stands behind a comma")
	}
	var name strings.Builder
	for _, b := range []byte(ssid) {
		fmt.Fprintf(&name, "%d;", b) // as bytes it needs no escapes
	}
	text := "[connection]\nid=pullnode-wifi\ntype=wifi\n\n[wifi]\nmode=infrastructure\nssid=" + name.String() + "\n"
	if secured {
		if len(pass) < 8 || len(pass) > 64 || strings.ContainsFunc(pass, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "", errors.New("the passphrase has 8 to 63 characters of ASCII, or it is a key of 64 hexadecimal digits")
		}
		psk := strings.ReplaceAll(pass, `\`, `\\`)
		if rest, ok := strings.CutPrefix(psk, " "); ok {
			psk = `\s` + rest
		}
		text += "\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=" + psk + "\n"
	}
	return text + "\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n", nil
}

package install

import (
	"strings"
	"testing"
)

func TestConnections(t *testing.T) {
	files, err := Connections("BOOT_IMAGE=/x console=ttyS0 pullnode.ip=192.0.2.10/24,192.0.2.1,192.0.2.53,192.0.2.54 pullnode.interface=enp1s0 \"pullnode.wifi=my net, a\\pass; word\" quiet\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := `[connection]
id=pullnode-ip
type=ethernet
autoconnect-priority=10
interface-name=enp1s0

[ipv4]
method=manual
address1=192.0.2.10/24,192.0.2.1
dns=192.0.2.53;192.0.2.54;

[ipv6]
method=auto
`; files["pullnode-ip.nmconnection"] != want {
		t.Errorf("wired is\n%s", files["pullnode-ip.nmconnection"])
	}
	if want := `[connection]
id=pullnode-wifi
type=wifi

[wifi]
mode=infrastructure
ssid=109;121;32;110;101;116;

[wifi-security]
key-mgmt=wpa-psk
psk=\sa\\pass; word

[ipv4]
method=auto

[ipv6]
method=auto
`; files["pullnode-wifi.nmconnection"] != want {
		t.Errorf("wifi is\n%s", files["pullnode-wifi.nmconnection"])
	}

	files, err = Connections(`pullnode.ip="2001:db8::a/64,2001:db8::1" pullnode.wifi=open`)
	if err != nil || !strings.Contains(files["pullnode-ip.nmconnection"], "[ipv6]\nmethod=manual\naddress1=2001:db8::a/64,2001:db8::1\n\n[ipv4]\nmethod=auto\n") ||
		strings.Contains(files["pullnode-wifi.nmconnection"], "security") {
		t.Errorf("%v, %v", files, err)
	}
	if files, err := Connections("quiet ip=dhcp pullnode=x"); err != nil || len(files) != 0 {
		t.Errorf("nothing is asked for, and there are %v, %v", files, err)
	}
	for line, say := range map[string]string{
		"pullnode.ip=192.0.2.10":                                 "length of its prefix",
		"pullnode.ip=192.0.2.10/24,2001:db8::1":                  "same family",
		"pullnode.ip=192.0.2.10/24, pullnode.wifi=x,longenough":  "same family",
		"pullnode.ip=192.0.2.10/24 \"pullnode.interface=a\\nb\"": "no name of an interface",
		"pullnode.wifi=net,secret":                               "8 to 63",
		"pullnode.wifi=,secretsecret":                            "1 to 32",
	} {
		files, err := Connections(line)
		if err == nil || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "secret") || strings.Contains(line, "longenough") != (len(files) == 1) {
			t.Errorf("%s: %v, %v", line, files, err)
		}
	}
}

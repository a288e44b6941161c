package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallerNetwork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "system-connections")
	line := filepath.Join(t.TempDir(), "cmdline")
	write(t, line, "quiet pullnode.ip=192.0.2.10/24 pullnode.wifi=net,short\n")
	err := installerNetworkCommand(line, dir).run(t.Context(), nil, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "pullnode.wifi: the passphrase has 8") {
		t.Errorf("says %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "pullnode-ip.nmconnection"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the good half: %v, %v", info, err)
	}
	write(t, line, "quiet\n")
	other := filepath.Join(t.TempDir(), "none")
	if err := installerNetworkCommand(line, other).run(t.Context(), nil, io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("nothing was asked for, and there is a directory")
	}
}

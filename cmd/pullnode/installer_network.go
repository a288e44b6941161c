package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"pullnode/internal/install"
)

// installerNetworkCommand is pullnode-installer-network.service: what the kernel's
// command line says of the network, as profiles that NetworkManager reads when it
// starts.
func installerNetworkCommand(cmdline, dir string) *command {
	return &command{run: func(context.Context, []string, io.Writer) error {
		raw, err := os.ReadFile(cmdline)
		if err != nil {
			return err
		}
		files, err := install.Connections(string(raw))
		if len(files) > 0 {
			err = errors.Join(err, os.MkdirAll(dir, 0o700))
		}
		for name, text := range files {
			// NetworkManager takes no profile that others may read.
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		return err
	}}
}

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Build evaluates and builds c's system in the machine, by its own Nix daemon,
// and gives the toplevel's store path.
func (h *Host) Build(ctx context.Context, c Config) (toplevel string, err error) {
	out, err := h.Run(ctx, "mktemp", "-d")
	if err != nil {
		return "", err
	}
	dir := strings.TrimSpace(out)
	for path, text := range FlakeFiles(h.Name, c) {
		if err := h.Write(dir+"/"+path, []byte(text)); err != nil {
			return "", err
		}
	}
	attr := "#nixosConfigurations." + h.Name + ".config.system.build.toplevel"
	out, err = h.Run(ctx, "nix", "build", "--no-link", "--json", "path:"+dir+attr)
	if err != nil {
		return "", err
	}
	var built []struct{ Outputs map[string]string }
	if err := json.Unmarshal([]byte(out), &built); err != nil {
		return "", fmt.Errorf("nix build: %w: %s", err, out)
	}
	if len(built) != 1 || built[0].Outputs["out"] == "" {
		return "", fmt.Errorf("nix build: no output in %s", out)
	}
	_, err = h.Run(ctx, "rm", "-rf", dir)
	return built[0].Outputs["out"], err
}

// Install makes a toplevel the system profile's newest generation and the boot
// default, as nixos-install does. The next boot boots it.
func (h *Host) Install(ctx context.Context, toplevel string) error {
	if _, err := h.Run(ctx, "nix-env", "-p", "/nix/var/nix/profiles/system", "--set", toplevel); err != nil {
		return err
	}
	if err := h.Write("/etc/NIXOS", nil); err != nil {
		return err
	}
	_, err := h.Run(ctx, toplevel+"/bin/switch-to-configuration", "boot")
	return err
}

// Current gives the toplevel that runs: what /run/current-system leads to.
func (h *Host) Current(ctx context.Context) (string, error) {
	out, err := h.Run(ctx, "readlink", "-f", "/run/current-system")
	return strings.TrimSpace(out), err
}

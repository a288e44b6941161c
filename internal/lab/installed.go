package lab

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"

	"pullnode/nix/units"
)

// Installed adds to a system pullnode's installed units and these settings, as
// the NixOS module does: changed settings restart agent and fetching process. A
// unit or a settings file that c has already stays.
func Installed(c Config, settings map[string]any) (Config, error) {
	c.Units, c.Etc = maps.Clone(c.Units), maps.Clone(c.Etc)
	if c.Units == nil {
		c.Units = map[string]string{}
	}
	if c.Etc == nil {
		c.Etc = map[string]string{}
	}
	const file = "pullnode/pullnode.json"
	if c.Etc[file] == "" {
		raw, err := json.Marshal(settings)
		if err != nil {
			return c, err
		}
		c.Etc[file] = string(raw)
	}
	trigger := fmt.Sprintf("[Unit]\nX-Restart-Triggers=%x\n", sha256.Sum256([]byte(c.Etc[file])))
	for _, name := range []string{"pullnode.service", "pullnode-sync.service", "pullnode-dirs.service"} {
		raw, err := units.Files.ReadFile(name)
		if err != nil {
			return c, err
		}
		if _, own := c.Units[name]; own {
			continue
		}
		c.Units[name] = string(raw)
		if name != "pullnode-dirs.service" {
			c.Units[name] += trigger
		}
	}
	return c, nil
}

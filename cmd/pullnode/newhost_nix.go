package main

import (
	"os"
	"path/filepath"
	"strings"
)

func (h *hostFolder) hostNix() string {
	s := "{\n  system = \"" + h.System + "\";\n"
	if h.Environment != "" {
		s += "  environment = \"" + h.Environment + "\";\n"
	}
	return s + "}\n"
}

// defaultNix imports what the repository shares, where it has the modules of the
// example fleet.
func (h *hostFolder) defaultNix(top string) string {
	var shared []string
	for _, m := range []string{"base", "secrets", "ssh", "users"} {
		if _, err := os.Stat(filepath.Join(top, "modules", m+".nix")); err == nil {
			shared = append(shared, "    ../../modules/"+m+".nix\n")
		}
	}
	s := "{\n"
	if len(shared) > 0 {
		s += "  imports = [\n" + strings.Join(shared, "") + "  ];\n\n"
	}
	s += `  services.pullnode = {
    enable = true;
    # The identity that ssh-to-age derives from the SSH host key; docs/keys.md has
    # other sources.
    settings.keys.sources = [ { type = "ssh-host-key"; } ];

    # When this machine is well; docs/health.md has the kinds.
    settings.health.checks.ssh = {
      type = "tcp";
      address = "127.0.0.1:22";
      banner = "SSH-2.0-";
    };
  };

  # After: pullnode secret new hosts/` + h.Name + `/secrets.yaml
  # sops.defaultSopsFile = ./secrets.yaml;

  services.openssh.enable = true;
  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "26.05";
}
`
	for _, m := range shared {
		if strings.Contains(m, "secrets.nix") { // it has the source
			s = strings.Replace(s, `    # The identity that ssh-to-age derives from the SSH host key; docs/keys.md has
    # other sources.
    settings.keys.sources = [ { type = "ssh-host-key"; } ];

`, "", 1)
		}
	}
	return s
}

const diskoNix = `{
  disko.devices.disk.main = {
    type = "disk";
    device = "@disk@";
    content = {
      type = "gpt";
      partitions = {
        ESP = {
          size = "1G";
          type = "EF00";
          content = {
            type = "filesystem";
            format = "vfat";
            mountpoint = "/boot";
            mountOptions = [ "umask=0077" ];
          };
        };
        root = {
          size = "100%";
          content = {
            type = "filesystem";
            format = "ext4";
            mountpoint = "/";
          };
        };
      };
    };
  };
}
`

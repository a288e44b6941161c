package main

import (
	"os"
	"path/filepath"
)

func (h *hostFolder) hostNix() string {
	s := "{\n  system = \"" + h.System + "\";\n"
	if h.Environment != "" {
		s += "  environment = \"" + h.Environment + "\";\n"
	}
	return s + "}\n"
}

// defaultNix imports what the repository shares, where it has the modules of the
// example fleet, and otherwise says itself what those would.
func (h *hostFolder) defaultNix(top string) string {
	has := func(module string) bool {
		_, err := os.Stat(filepath.Join(top, "modules", module+".nix"))
		return err == nil
	}
	var shared, args, settings, login string
	for _, m := range []string{"base", "secrets", "ssh", "users"} {
		if has(m) {
			shared += "    ../../modules/" + m + ".nix\n"
		}
	}
	if shared != "" {
		shared = "  imports = [\n" + shared + "  ];\n\n"
	}
	if !has("base") && has("repository") {
		settings = " import ../../modules/repository.nix //"
	}
	var source string
	if !has("secrets") {
		source = `      # The identity that ssh-to-age derives from the SSH host key; docs/keys.md has
      # other sources.
      keys.sources = [ { type = "ssh-host-key"; } ];

`
	}
	if !has("users") && has("operators") {
		args, login = "{ lib, ... }:\n", `  users.users.root.openssh.authorizedKeys.keys = lib.concatLists (
    lib.attrValues (import ../../modules/operators.nix)
  );
`
	}
	return args + "{\n" + shared + `  services.pullnode = {
    enable = true;
    settings =` + settings + ` {
` + source + `      # When this machine is well; docs/health.md has the kinds.
      health.checks.ssh = {
        type = "tcp";
        address = "127.0.0.1:22";
        banner = "SSH-2.0-";
      };
    };
  };

  # After: pullnode secret new hosts/` + h.Name + `/secrets.yaml
  # sops.defaultSopsFile = ./secrets.yaml;

  services.openssh.enable = true;
` + login + `  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "26.05";
}
`
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

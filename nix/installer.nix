# What an installer has, on whatever image: it takes keys and no passwords, knows
# which repository it belongs to, and has `pullnode install`. The profile of NixOS'
# own installation devices is expected beside it; iso.nix brings it.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pullnode-installer;
  inherit (lib) mkOption types;
  format = pkgs.formats.json { };

  # The serial console of the architecture, beside ttyS0.
  ownConsole =
    {
      aarch64 = [ "ttyAMA0" ];
      riscv64 = [ "ttySIF0" ];
    }
    .${pkgs.stdenv.hostPlatform.parsed.cpu.name} or [ ];
in
{
  options.services.pullnode-installer = {
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nix/package.nix { }";
      description = "The package that has the program.";
    };

    operatorKeys = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... alice" ];
      description = "SSH public keys that may log in as root. Nobody may with a password.";
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = format.type;
        options = {
          url = mkOption {
            type = types.str;
            example = "https://git.example.org/infra.git";
            description = "The repository that has the machines.";
          };
          branch = mkOption {
            type = types.str;
            default = "main";
            example = "production";
            description = "The branch to install from; `pullnode install --branch` takes another.";
          };
          introduction = mkOption {
            type = types.str;
            example = "4f2c9e16fd807b096b48283debdcddccfea34bad@SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ";
            description = "Where trust begins, as `pullnode init` prints it. Nothing is installed that it does not lead to.";
          };
        };
      };
      example = lib.literalExpression ''{ url = "https://git.example.org/infra.git"; introduction = "..."; }'';
      description = "As `services.pullnode.settings`; what is not for fetching and trust has no effect here.";
    };

    host = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "web01";
      description = "A machine that this image installs by itself when it boots. It touches no disk that has data on it, unless `wipe` is set.";
    };

    wipe = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether the unattended installation may overwrite data: whoever boots this image loses the disks that `host` names.";
    };
  };

  config = {
    warnings = lib.optional (cfg.operatorKeys == [ ] && cfg.host == null) "services.pullnode-installer.operatorKeys is empty: nobody can log in to this installer by SSH.";

    boot.kernelParams = map (c: "console=${c},115200n8") ([ "ttyS0" ] ++ ownConsole) ++ [ "console=tty0" ];

    # Keys only: also none of the installer's empty passwords.
    services.openssh.settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = lib.mkForce "prohibit-password";
    };
    services.openssh.hostKeys = [
      {
        type = "ed25519";
        path = "/etc/ssh/ssh_host_ed25519_key";
      }
    ];
    users.users.root.openssh.authorizedKeys.keys = cfg.operatorKeys;
    # That of NixOS tells to set a password for SSH, which takes none here.
    services.getty.helpLine = lib.mkForce ''

      "nixos" and "root" need no password, but only on this console: SSH takes the
      operators' keys. To set up the network by hand, run `nmtui`. To install a machine:
      `sudo pullnode install HOST`.
    '';

    # DHCP and IPv6 by themselves. The kernel's command line can give another address
    # and a Wi-Fi.
    systemd.services.pullnode-installer-network = lib.mkIf config.networking.networkmanager.enable {
      description = "Read the network from the kernel's command line";
      wantedBy = [ "NetworkManager.service" ];
      before = [ "NetworkManager.service" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe cfg.package} installer-network";
        StandardError = "journal+console";
      };
    };
    networking.hostName = lib.mkDefault "pullnode-installer";
    networking.useDHCP = lib.mkDefault true;

    nix.settings.experimental-features = [
      "nix-command"
      "flakes"
    ];

    environment.etc."pullnode/install.json".source = format.generate "install.json" cfg.settings;
    environment.systemPackages = [
      cfg.package
      pkgs.age
      pkgs.curl
      pkgs.deploy-rs
      pkgs.disko
      pkgs.git
      pkgs.nh
      pkgs.nixos-facter
      pkgs.sops
      pkgs.ssh-to-age
    ];

    # Whoever does not know the host key compares it with the console.
    systemd.services.pullnode-installer-greeting = {
      description = "Say how this installer is reached";
      wantedBy = [ "multi-user.target" ];
      after = [
        "sshd.service"
        "network-online.target"
      ];
      wants = [ "network-online.target" ];
      serviceConfig.Type = "oneshot";
      # On each console: /dev/console is one of them alone.
      script = ''
        text=$(
          echo "pullnode installer: ssh root@ one of"
          ${lib.getExe' pkgs.iproute2 "ip"} -brief address show scope global
          ${lib.getExe' pkgs.openssh "ssh-keygen"} -lf /etc/ssh/ssh_host_ed25519_key
          echo "then: pullnode install HOST"
        )
        echo "$text"
        for console in $(cat /sys/class/tty/console/active); do
          echo "$text" > "/dev/$console" || true
        done
      '';
    };

    systemd.services.pullnode-install = lib.mkIf (cfg.host != null) {
      description = "Install ${toString cfg.host}";
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" ];
      wants = [ "network-online.target" ];
      path = [
        config.nix.package
        config.system.build.nixos-install
        pkgs.disko
        pkgs.gitMinimal
        pkgs.nixos-facter
        pkgs.util-linux
        config.systemd.package
      ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = lib.escapeShellArgs (
          [
            (lib.getExe cfg.package)
            "install"
            cfg.host
          ]
          ++ lib.optionals cfg.wipe [
            "--wipe"
            "--yes-wipe=${cfg.host}"
          ]
        );
        StandardOutput = "journal+console";
        StandardError = "journal+console";
      };
    };
  };
}

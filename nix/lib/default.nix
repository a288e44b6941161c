# lib.mkHost and lib.mkFleet: a folder is a machine.
#
#   hosts/NAME/host.nix     what must be known before the machine is evaluated:
#                           { system; environment ? null; address ? NAME; sshUser ? "root"; }
#   hosts/NAME/default.nix  its configuration, a NixOS module
#   hosts/NAME/disko.nix    its disks, where the installer partitions them
#   hosts/NAME/facter.json  its hardware, as nixos-facter reports it
#
# Nothing in here knows the commit: a machine must not change with it.
{ inputs }:

let
  inherit (inputs.nixpkgs) lib;

  known = [
    "system"
    "environment"
    "address"
    "sshUser"
  ];

  # host.nix, with its defaults.
  readHost =
    dir: name:
    let
      given = import (dir + "/host.nix");
      unknown = lib.subtractLists known (lib.attrNames given);
    in
    if unknown != [ ] then
      throw "hosts/${name}/host.nix: unknown ${lib.head unknown}; it has ${lib.concatStringsSep ", " known}"
    else
      {
        inherit name;
        environment = null;
        address = name;
        sshUser = "root";
      }
      // given;

  # Images bring file systems of their own.
  imageFormats = [
    "iso"
    "qemu"
    "qemu-efi"
    "raw"
    "raw-efi"
  ];

  mkHost =
    {
      dir,
      name ? baseNameOf (toString dir),
      modules ? [ ],
      environments ? { },
      specialArgs ? { },
    }:
    let
      host = readHost dir name;
      optionalFile = file: lib.optional (builtins.pathExists (dir + "/${file}")) (dir + "/${file}");
      environment =
        environments.${host.environment}
          or (throw "hosts/${name}/host.nix: unknown environment ${host.environment}; there are ${lib.concatStringsSep ", " (lib.attrNames environments)}");
    in
    inputs.nixpkgs.lib.nixosSystem {
      specialArgs = {
        inputs = removeAttrs inputs [ "self" ];
        inherit host;
      }
      // specialArgs;
      modules = [
        ../module.nix
        inputs.disko.nixosModules.disko
        inputs.sops-nix.nixosModules.sops
        (dir + "/default.nix")
        {
          networking.hostName = lib.mkDefault name;
          nixpkgs.hostPlatform = lib.mkDefault host.system;
          image.modules = lib.genAttrs imageFormats (_: {
            disko.enableConfig = lib.mkForce false;
          }) // {
            # Cards boot by extlinux.conf.
            sd-card = {
              disko.enableConfig = lib.mkForce false;
              boot.loader.systemd-boot.enable = lib.mkForce false;
            };
          };
        }
      ]
      ++ optionalFile "disko.nix"
      ++ map (report: { hardware.facter.reportPath = report; }) (optionalFile "facter.json")
      ++ lib.optional (host.environment != null) environment
      ++ modules;
    };

  # Every folder of `hosts` that has a host.nix.
  mkFleet =
    {
      hosts,
      modules ? [ ],
      environments ? { },
      specialArgs ? { },
    }:
    let
      folders = lib.filterAttrs (
        name: type: type == "directory" && builtins.pathExists (hosts + "/${name}/host.nix")
      ) (builtins.readDir hosts);
      meta = lib.mapAttrs (name: _: readHost (hosts + "/${name}") name) folders;
      nixosConfigurations = lib.mapAttrs (
        name: _:
        mkHost {
          inherit
            name
            modules
            environments
            specialArgs
            ;
          dir = hosts + "/${name}";
        }
      ) folders;
    in
    {
      inherit meta nixosConfigurations;

      # For the day when pulling is broken; pullnode itself never needs it.
      deploy.nodes = lib.mapAttrs (
        name: nixos:
        let
          inherit (inputs.deploy-rs.lib.${meta.${name}.system}) activate;
          cfg = nixos.config.services.pullnode;
          inherit (nixos.config.system.build) toplevel;
          # The agent makes the switch, with its checks and its guard, and puts back
          # what is bad: deploy-rs' own ways of doing so are off. The profile only
          # keeps what was copied; the system profile is the agent's.
          byAgent = {
            autoRollback = false;
            magicRollback = false;
            profiles.system = {
              user = "root";
              profilePath = "/nix/var/nix/profiles/pullnode-push";
              path =
                (
                  activate.custom
                  // {
                    dryActivate = "${toplevel}/bin/switch-to-configuration dry-activate";
                    boot = "echo 'pullnode does not take a system for the next boot only' >&2; exit 1";
                  }
                )
                  toplevel
                  "${lib.getExe cfg.package} pushed ${toplevel}";
            };
          };
          bySwitch.profiles.system = {
            user = "root";
            path = activate.nixos nixos;
          };
        in
        {
          hostname = meta.${name}.address;
          inherit (meta.${name}) sshUser;
        }
        // (if cfg.enable then byAgent else bySwitch)
      ) nixosConfigurations;
    };
in
{
  inherit mkHost mkFleet;
}

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
  inherit (import ./host.nix { inherit lib; }) readHost hostModule;
  images = import ./images.nix { inherit lib; };
  nodes = import ./deploy.nix { inherit inputs lib; };
  checks = import ./checks.nix { inherit inputs lib; };

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
    in
    lib.nixosSystem {
      specialArgs = {
        inputs = removeAttrs inputs [ "self" ];
        inherit host;
      }
      // specialArgs;
      modules = [
        ../module.nix
        inputs.disko.nixosModules.disko
        inputs.sops-nix.nixosModules.sops
        (hostModule { inherit dir host environments; })
        (images.ofHost name)
      ]
      ++ modules;
    };

  # The installer of a repository, by system: `operatorKeys` and `settings` as in
  # services.pullnode-installer.
  mkInstaller =
    {
      system,
      medium ? ../iso.nix,
      operatorKeys ? [ ],
      settings,
      modules ? [ ],
    }:
    lib.nixosSystem {
      modules = [
        medium
        {
          nixpkgs.hostPlatform = system;
          services.pullnode-installer = { inherit operatorKeys settings; };
        }
      ]
      ++ modules;
    };

  # Every folder of `hosts` that has a host.nix; and, where `installer` says how
  # mkInstaller makes them, the installers of `systems`.
  mkFleet =
    {
      hosts,
      modules ? [ ],
      environments ? { },
      specialArgs ? { },
      installer ? null,
      systems ? [
        "x86_64-linux"
        "aarch64-linux"
      ],
    }:
    let
      folders = lib.filterAttrs (
        name: type: type == "directory" && builtins.pathExists (hosts + "/${name}/host.nix")
      ) (builtins.readDir hosts);
      meta = lib.mapAttrs (name: _: readHost (hosts + "/${name}") name) folders;
      machines = lib.mapAttrs (
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
      installerOf = medium: system: mkInstaller (installer // { inherit medium system; });
      perSystem = lib.genAttrs systems;
      machinesOf = system: lib.filterAttrs (name: _: meta.${name}.system == system) machines;

      fleet = {
        inherit meta;

        nixosConfigurations =
          machines
          // lib.optionalAttrs (installer != null) (
            lib.listToAttrs (
              map (system: lib.nameValuePair "installer-${system}" (installerOf ../iso.nix system)) systems
            )
          );

        deploy.nodes = lib.mapAttrs (name: nodes meta.${name}) machines;

        # Images, by system: MACHINE-FORMAT, and installer-iso and installer-kexec.
        packages = perSystem (
          system:
          lib.concatMapAttrs images.named (machinesOf system)
          // lib.optionalAttrs (installer != null) {
            installer-iso = (installerOf ../iso.nix system).config.system.build.isoImage;
            installer-kexec = (installerOf ../kexec.nix system).config.system.build.image;
          }
        );

        # By system: every machine evaluates, and deploy-rs accepts deploy.nodes.
        checks = perSystem (checks fleet);
      };
    in
    fleet;
in
{
  inherit mkHost mkFleet mkInstaller;
}

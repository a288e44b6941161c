# `nix flake check` of a fleet. deploy-rs' checks build what they look at, so each
# system has those of its own machines.
{ inputs, lib }:
fleet: system:
let
  pkgs = inputs.nixpkgs.legacyPackages.${system};

  # Evaluates a machine without building it.
  evaluates =
    name: nixos:
    pkgs.runCommand "evaluates-${name}"
      {
        toplevel = builtins.unsafeDiscardStringContext nixos.config.system.build.toplevel.drvPath;
      }
      ''
        echo "$toplevel" > "$out"
      '';

  here = lib.filterAttrs (
    _: nixos: nixos.config.nixpkgs.hostPlatform.system == system
  ) fleet.nixosConfigurations;
  nodes = lib.filterAttrs (name: _: fleet.meta.${name}.system == system) fleet.deploy.nodes;
in
lib.mapAttrs' (name: nixos: lib.nameValuePair "evaluates-${name}" (evaluates name nixos)) here
// lib.optionalAttrs (nodes != { }) (inputs.deploy-rs.lib.${system}.deployChecks { inherit nodes; })

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

  # Known without evaluating any machine, so that the checks can be listed at once.
  isHere = name: _: name == "installer-${system}" || fleet.meta.${name}.system or null == system;
  here = lib.filterAttrs isHere fleet.nixosConfigurations;
  nodes = lib.filterAttrs isHere fleet.deploy.nodes;
in
lib.mapAttrs' (name: nixos: lib.nameValuePair "evaluates-${name}" (evaluates name nixos)) here
// lib.optionalAttrs (nodes != { }) (inputs.deploy-rs.lib.${system}.deployChecks { inherit nodes; })

# `nix flake check`: every machine evaluates, deploy-rs accepts deploy.nodes, and one
# VM test per promise (those on x86_64-linux only, to be run once and not twice).
{
  lib,
  pkgs,
  self,
  inputs,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;

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
  machines = lib.filterAttrs (
    _: nixos: nixos.config.nixpkgs.hostPlatform.system == system
  ) self.nixosConfigurations;

  vmTests = lib.genAttrs [
    "starts"
    "refuses-unsigned"
    "deploys-signed"
    "puts-back"
  ] (name: pkgs.testers.runNixOSTest (import (./. + "/${name}.nix") { inherit self inputs; }));
in
{
  package = self.packages.${system}.pullnode;
}
// lib.mapAttrs' (name: nixos: lib.nameValuePair "evaluates-${name}" (evaluates name nixos)) machines
// lib.optionalAttrs (system == "x86_64-linux") (
  inputs.deploy-rs.lib.${system}.deployChecks self.deploy
  // lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") vmTests
)

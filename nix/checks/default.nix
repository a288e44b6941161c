# `nix flake check`: those of the fleet, the package, and one VM test per promise (on
# x86_64-linux only, to be run once and not twice; their machine has the example's
# key, so a fork without the example has none of them).
{
  lib,
  pkgs,
  self,
  fleet,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;

  vmTests = lib.genAttrs [
    "starts"
    "refuses-unsigned"
    "deploys-signed"
    "puts-back"
  ] (name: pkgs.testers.runNixOSTest (./. + "/${name}.nix"));
in
{
  package = self.packages.${system}.pullnode;
}
// fleet.checks.${system}
// lib.optionalAttrs (system == "x86_64-linux" && self.nixosConfigurations ? example) (
  lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") vmTests
)

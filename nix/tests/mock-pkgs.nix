# Packages without nixpkgs, for module.nix: names that look like store paths.
{ lib, real }:
let
  b = builtins;

  drv = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };
  pkgs =
    b.listToAttrs (
      map
        (name: {
          inherit name;
          value = drv name;
        })
        [
          "age"
          "curl"
          "deploy-rs"
          "git"
          "gitMinimal"
          "nh"
          "openssh"
          "sops"
        ]
    )
    // {
      formats.json = _: {
        type = if !real then lib.types.anything else (lib.types.attrsOf lib.types.anything) // { description = "JSON value"; };
      };
      stdenv = {
        buildPlatform.canExecute = _: true;
        hostPlatform = { };
      };
      callPackage = _: _: drv "pullnode";
      runCommand = name: env: script: drv name // { inherit env script; };
    };

  # Built on one architecture for another.
  crossPkgs = pkgs // {
    stdenv = {
      buildPlatform.canExecute = _: false;
      hostPlatform = { };
    };
    buildPackages.callPackage = _: _: drv "pullnode-of-the-builder" // { meta.mainProgram = "pullnode"; };
  };
in
{
  inherit drv pkgs crossPkgs;
}

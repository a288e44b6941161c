# The flake's outputs on real inputs that lie in directories, without a lock file
# and without copying nixpkgs into the store. For `make eval`.
{
  nixpkgs,
  sops-nix,
  disko,
  deploy-rs,
  nixos-anywhere,
  # This repository, or a copy of it with other documents.
  source ? ../..,
}:
let
  # What a flake's outputs are, given its inputs.
  call =
    dir: inputs:
    let
      outputs = (import (dir + "/flake.nix")).outputs (inputs // { inherit self; });
      self = outputs // {
        inherit inputs;
        outPath = dir;
        _type = "flake";
      };
    in
    self;

  # flake-utils, as far as deploy-rs uses it.
  utils.lib = rec {
    defaultSystems = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    eachSystem =
      systems: f:
      let
        perSystem = map (system: { inherit system; value = f system; }) systems;
        names = builtins.attrNames (builtins.foldl' (a: p: a // p.value) { } perSystem);
      in
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = builtins.listToAttrs (
            map (p: {
              name = p.system;
              value = p.value.${name};
            }) perSystem
          );
        }) names
      );
  };

  inputs = {
    nixpkgs = call nixpkgs { };
    sops-nix = call sops-nix { inherit (inputs) nixpkgs; };
    disko = call disko { inherit (inputs) nixpkgs; };
    deploy-rs = call deploy-rs {
      inherit (inputs) nixpkgs;
      inherit utils;
    };
    nixos-anywhere = call nixos-anywhere { inherit (inputs) nixpkgs; };
  };
in
call source inputs

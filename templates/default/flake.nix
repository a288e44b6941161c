{
  description = "Our machines, kept up to date by pullnode";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Where pullnode is taken from; write your mirror or fork here.
    pullnode.url = "git+https://git.example.org/pullnode.git";
    pullnode.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, pullnode, ... }:
    let
      inherit (nixpkgs) lib;
      fleet = pullnode.lib.mkFleet {
        hosts = ./hosts;
        environments.production = ./environments/production.nix;
        installer = {
          operatorKeys = lib.concatLists (lib.attrValues (import ./modules/operators.nix));
          settings = import ./modules/repository.nix;
        };
      };
    in
    {
      # packages are the images: MACHINE-FORMAT, installer-iso, installer-kexec.
      inherit (fleet)
        nixosConfigurations
        deploy
        packages
        checks
        ;
      apps = lib.mapAttrs (_: apps: { inherit (apps) iso install; }) pullnode.apps;
      inherit (pullnode) devShells formatter;
    };
}

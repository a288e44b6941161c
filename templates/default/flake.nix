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
      fleet = pullnode.lib.mkFleet {
        hosts = ./hosts;
        environments.production = ./environments/production.nix;
      };
    in
    {
      inherit (fleet) nixosConfigurations deploy;
      devShells = pullnode.devShells;
      formatter = pullnode.formatter;
    };
}

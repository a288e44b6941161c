# A machine that can evaluate and build its own next system without a network: its
# flake's inputs are tarballs that a web server on it serves, and what the build
# needs is in its store.
{ self, inputs }:
{ config, lib, pkgs, ... }:
let
  tarball =
    name: source:
    pkgs.runCommand "${name}.tar.gz" { } ''
      tar czf "$out" --sort=name --mtime=@0 --owner=0 --group=0 -C ${source} .
    '';
  served = pkgs.linkFarm "inputs" [
    {
      name = "nixpkgs.tar.gz";
      path = tarball "nixpkgs" inputs.nixpkgs;
    }
    {
      name = "pullnode.tar.gz";
      path = tarball "pullnode" self;
    }
  ];

  # The flake of the repository: this machine as it is, and one file more.
  flake = pkgs.writeText "flake.nix" ''
    {
      inputs.nixpkgs.url = "http://localhost:8000/nixpkgs.tar.gz";
      inputs.pullnode.url = "http://localhost:8000/pullnode.tar.gz";
      inputs.pullnode.flake = false;
      outputs = { nixpkgs, pullnode, ... }: {
        nixosConfigurations.machine = nixpkgs.lib.nixosSystem {
          modules = [
            "''${nixpkgs}/nixos/modules/testing/test-instrumentation.nix"
            "''${nixpkgs}/nixos/modules/virtualisation/qemu-vm.nix"
            (import "''${pullnode}/nix/checks/node.nix" {
              pullnode.nixosModules.pullnode = "''${pullnode}/nix/module.nix";
            })
            "''${pullnode}/nix/checks/web-server.nix"
            ./change.nix
            { nixpkgs.hostPlatform = "${pkgs.stdenv.hostPlatform.system}"; networking.hostName = "machine"; }
          ];
        };
      };
    }
  '';
in
{
  imports = [
    (import ./node.nix { pullnode = self; })
    ./web-server.nix
  ];

  environment.etc."flake.nix".source = flake;
  environment.etc."inputs".source = served;

  # To build a variant of itself it needs what it was built with.
  system.includeBuildDependencies = true;
  virtualisation = {
    memorySize = lib.mkForce 4096;
    diskSize = 8192;
    cores = 2;
    writableStore = true;
  };
  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}

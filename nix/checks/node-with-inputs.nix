# A machine that can evaluate and build its own next system without a network: its
# flake's inputs are tarballs that a web server on it serves, and what the build
# needs is in its store.
{ self, inputs }:
{ lib, pkgs, ... }:
let
  inherit (pkgs.stdenv.hostPlatform) system;

  # With one directory at the top, as Nix expects it.
  tarball =
    name: source:
    pkgs.runCommand "${name}.tar.gz" { } ''
      tar czf "$out" --sort=name --mtime=@1000000000 --owner=0 --group=0 \
        -C "$(dirname ${source})" "$(basename ${source})"
    '';
  served = pkgs.linkFarm "inputs" {
    "nixpkgs.tar.gz" = tarball "nixpkgs" inputs.nixpkgs;
    "pullnode.tar.gz" = tarball "pullnode" self;
  };

  # The flake of the repository: this machine as it is, and one file more.
  flake = pkgs.writeText "flake.nix" ''
    {
      inputs.nixpkgs.url = "http://localhost:8000/nixpkgs.tar.gz";
      inputs.pullnode.url = "http://localhost:8000/pullnode.tar.gz";
      inputs.pullnode.flake = false;
      outputs = { nixpkgs, pullnode, ... }: {
        nixosConfigurations.machine = import "''${pullnode}/nix/checks/next.nix" {
          inherit nixpkgs;
          system = "${system}";
          modules = [ ./change.nix ];
        };
      };
    }
  '';
  next = import ./next.nix {
    inherit (inputs) nixpkgs;
    inherit system;
  };
in
{
  imports = [ ./following.nix ];

  environment.etc."flake.nix".source = flake;
  environment.etc."inputs".source = served;

  # To build a variant of that system it needs what that is built with.
  system.extraDependencies = [
    (pkgs.closureInfo { rootPaths = [ next.config.system.build.toplevel.drvPath ]; })
  ];
}

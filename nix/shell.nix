# What one works with: on the program, on secrets, on machines.
{ pkgs, inputs }:
let
  inherit (pkgs.stdenv.hostPlatform) system;
in
pkgs.mkShellNoCC {
  packages = [
    # the program
    pkgs.git
    pkgs.gnumake
    pkgs.go
    pkgs.govulncheck
    # secrets
    pkgs.age
    pkgs.sops
    pkgs.ssh-to-age
    # machines
    inputs.deploy-rs.packages.${system}.default
    inputs.disko.packages.${system}.default
    inputs.nixos-anywhere.packages.${system}.default
    pkgs.nh
    pkgs.nixfmt
    pkgs.nixos-facter
    pkgs.nixos-generators # deprecated in favour of system.build.images
    pkgs.quickemu
    pkgs.e2fsprogs # pullnode image, and these:
    pkgs.xorriso
    pkgs.zstd
  ];
}

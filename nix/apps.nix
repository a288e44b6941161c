# nix run .#NAME
{
  lib,
  pkgs,
  self,
  inputs,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;
  packages = self.packages.${system};
  # A fork may have deleted it.
  example = self.nixosConfigurations.example or null;

  app = description: args: {
    type = "app";
    program = lib.getExe (pkgs.writeShellApplication args);
    meta = { inherit description; };
  };
in
{
  iso = app "Build the installer ISO of the clone one is in, and say where it is" {
    name = "pullnode-iso";
    runtimeInputs = [
      packages.pullnode
      pkgs.git
      pkgs.nix
      pkgs.xorriso
    ];
    text = ''exec pullnode image installer --format iso "$@"'';
  };

  install = app "pullnode install, with nixos-anywhere at hand: HOST --target root@ADDRESS" {
    name = "pullnode-install-remote";
    runtimeInputs = [
      packages.pullnode
      inputs.nixos-anywhere.packages.${system}.default
      pkgs.git
      pkgs.openssh
    ];
    text = ''exec pullnode install "$@"'';
  };

  demo = app "Show the loop on this machine, below one directory" {
    name = "pullnode-demo";
    runtimeInputs = [
      pkgs.age
      pkgs.git
      pkgs.go
      pkgs.gnumake
      pkgs.nix
      pkgs.openssh
    ];
    text = ''
      dir=$(mktemp -d)
      trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
      cp -r --no-preserve=mode ${self}/. "$dir"
      cd "$dir"
      go run ./internal/demo "$@"
    '';
  };
}
// lib.optionalAttrs (example != null && example.config.nixpkgs.hostPlatform.system == system) {
  vm = app "Boot the example machine; its web server is http://localhost:8080" {
    name = "pullnode-vm";
    text = ''exec ${example.config.system.build.vm}/bin/run-example-vm "$@"'';
  };
}

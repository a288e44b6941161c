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

  app = description: args: {
    type = "app";
    program = lib.getExe (pkgs.writeShellApplication args);
    meta = { inherit description; };
  };
in
{
  # Building it is what `nix run` does first, with its progress.
  iso = app "Build the installer ISO and say where it is" {
    name = "pullnode-iso";
    text = ''
      image=$(echo ${packages.installer-iso}/iso/*.iso)
      echo "image    $image"
      echo "size     $(du -hL "$image" | cut -f1)"
      echo "sha256   $(sha256sum "$image" | cut -d' ' -f1)"
      echo
      echo "write it: sudo dd if=$image of=/dev/sdX bs=4M conv=fsync status=progress"
    '';
  };

  install = app "Install a machine over SSH, by nixos-anywhere, from the clone one is in" {
    name = "pullnode-remote-install";
    runtimeInputs = [
      packages.pullnode
      inputs.nixos-anywhere.packages.${system}.default
      pkgs.git
      pkgs.openssh
    ];
    text = ''
      if [ $# -lt 2 ]; then
        echo "usage: nix run .#install -- HOST root@ADDRESS [nixos-anywhere's options]" >&2
        exit 2
      fi
      host=$1 target=$2
      shift 2
      # What nodes would say of this clone; a machine that is installed from
      # something else would be stuck.
      pullnode verify
      printf 'All data on the disks of %s will be lost. Type %s to go on: ' "$target" "$host"
      read -r typed
      [ "$typed" = "$host" ] || { echo "that is not $host; nothing was touched" >&2; exit 1; }
      exec nixos-anywhere --flake ".#$host" --target-host "$target" "$@"
    '';
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
// lib.optionalAttrs (system == self.nixosConfigurations.example.config.nixpkgs.hostPlatform.system) {
  vm = app "Boot the example machine; its web server is http://localhost:8080" {
    name = "pullnode-vm";
    text = ''exec ${self.nixosConfigurations.example.config.system.build.vm}/bin/run-example-vm "$@"'';
  };
}

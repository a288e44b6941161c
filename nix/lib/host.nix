# What a folder says of its machine.
{ lib }:
let
  known = [
    "system"
    "environment"
    "address"
    "sshUser"
  ];
in
{
  # host.nix, with its defaults. What is wrong with it is said in its own words: Nix
  # would name a line of this file.
  readHost =
    dir: name:
    let
      file = "hosts/${name}/host.nix";
      given = import (dir + "/host.nix");
      unknown = builtins.filter (n: !builtins.elem n known) (builtins.attrNames given);
    in
    if !builtins.isAttrs given then
      throw "${file}: it is no attribute set, such as { system = \"x86_64-linux\"; }"
    else if unknown != [ ] then
      throw "${file}: unknown ${builtins.head unknown}; it has ${builtins.concatStringsSep ", " known}"
    else if !(given ? system) then
      throw "${file}: system is missing, such as system = \"x86_64-linux\";"
    else
      {
        inherit name;
        environment = null;
        address = name;
        sshUser = "root";
      }
      // given;

  # The modules of the folder.
  hostModule =
    {
      dir,
      host,
      environments,
    }:
    let
      inherit (host) name;
      has = file: builtins.pathExists (dir + "/${file}");
      optionalFile = file: lib.optional (has file) (dir + "/${file}");
      environment =
        environments.${host.environment}
          or (throw "hosts/${name}/host.nix: unknown environment ${host.environment}; there are ${builtins.concatStringsSep ", " (builtins.attrNames environments)}");
    in
    {
      imports = [
        (
          if has "default.nix" then
            dir + "/default.nix"
          else
            throw "hosts/${name}/default.nix is missing: the configuration of ${name}, a NixOS module"
        )
      ]
      ++ optionalFile "disko.nix"
      ++ lib.optional (host.environment != null) environment;

      config = {
        networking.hostName = lib.mkDefault name;
        nixpkgs.hostPlatform = lib.mkDefault host.system;
        # By this name the node finds itself in the flake.
        services.pullnode.settings.hostName = lib.mkDefault name;
      }
      // (
        if has "facter.json" then
          { hardware.facter.reportPath = dir + "/facter.json"; }
        else
          # Nobody has said what hardware it is. NixOS by itself has no drivers of
          # virtual disks and of many controllers in the initrd, so the machine would
          # not find its root.
          { hardware.enableAllHardware = lib.mkDefault true; }
      );
    };
}

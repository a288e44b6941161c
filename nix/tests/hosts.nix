# The settings of every machine in hosts/, for hosts_test.go: on minilib.nix, so the
# options of NixOS are not looked at. `make eval` does.
let
  lib = import ./minilib.nix;
  b = builtins;
  hosts = ../../hosts;
  drv = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    meta.mainProgram = name;
  };
  pkgs = {
    formats.json = _: { type = lib.types.anything; };
    callPackage = _: _: drv "pullnode";
    stdenv = {
      buildPlatform.canExecute = _: true;
      hostPlatform = { };
    };
    runCommand = name: env: _: drv name // { inherit env; };
  };
  any = lib.mkOption {
    type = lib.types.anything;
    default = { };
    description = "Anything.";
  };
  nixos = name: {
    options = {
      assertions = any;
      services = b.listToAttrs (
        map
          (name: {
            inherit name;
            value = any;
          })
          [
            "journald"
            "nginx"
            "openssh"
            "pcscd"
            "prometheus"
          ]
      );
      sops = {
        age.keyFile = any;
        age.plugins = any;
        age.sshKeyPaths = any;
        gnupg.sshKeyPaths = any;
        defaultSopsFile = any;
        secrets = any;
      };
    };
    config = {
      networking.hostName = name;
      services.nginx.user = "nginx";
      sops.secrets.greeting.path = "/run/secrets/greeting";
      services.prometheus.exporters.node.port = 9100;
    };
  };
  settings =
    name:
    let
      host = import (hosts + "/${name}/host.nix");
    in
    b.fromJSON
      (lib.evalModules {
        specialArgs = { inherit pkgs; };
        modules = [
          ../module.nix
          (nixos name)
          (hosts + "/${name}/default.nix")
        ]
        ++ (if host ? environment then [ (../../modules/environments + "/${host.environment}.nix") ] else [ ]);
      }).config.services.pullnode.settingsFile.env.settings;
in
b.listToAttrs (
  map (name: {
    inherit name;
    value = settings name;
  }) (b.filter (name: b.pathExists (hosts + "/${name}/host.nix")) (b.attrNames (b.readDir hosts)))
)

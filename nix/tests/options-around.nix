# The options around the module, for module.nix: those of NixOS and of sops-nix that
# it may touch.
{ lib, real }:
let
  any = lib.mkOption {
    type = lib.types.anything;
    default = { };
    description = "Anything.";
  };
  list = lib.mkOption {
    type = lib.types.listOf lib.types.anything;
    default = [ ];
    description = "Any list.";
  };
  option = type: default: lib.mkOption {
    inherit type default;
    description = "As in sops-nix.";
  };
  # On nixpkgs' library lists of two modules are joined only where a type says so.
  lists = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [ ];
    description = "Units.";
  };
  units =
    if !real then
      any
    else
      lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.submodule {
            freeformType = lib.types.attrsOf lib.types.anything;
            options = {
              wants = lists;
              requires = lists;
              after = lists;
              before = lists;
              wantedBy = lists;
              requiredBy = lists;
            };
          }
        );
        default = { };
        description = "Units.";
      };
in
{
  nixos.options = {
    assertions = list;
    warnings = list;
    environment.etc = any;
    environment.systemPackages = list;
    networking = any;
    nix = any;
    security = any;
    services.pcscd.enable = option lib.types.bool false;
    systemd.package = any;
    systemd.packages = list;
    systemd.services = units;
    systemd.sockets = units;
    systemd.targets = units;
    system = any;
  };

  # sops-nix, as far as the module may touch it.
  sops.options.sops = {
    age.keyFile = option (lib.types.nullOr lib.types.str) null;
    age.plugins = option (lib.types.listOf lib.types.anything) [ ];
    age.sshKeyPaths = option (lib.types.listOf lib.types.str) [ "/etc/ssh/ssh_host_ed25519_key" ];
    gnupg.sshKeyPaths = option (lib.types.listOf lib.types.str) [ "/etc/ssh/ssh_host_rsa_key" ];
    secrets = option lib.types.anything { };
    useSystemdActivation = option lib.types.bool false;
  };
  # A host with a secret, and where sops-nix puts its unit in the boot.
  installs = {
    sops.secrets.greeting = { };
    systemd.services.sops-install-secrets = {
      wantedBy = [ "sysinit.target" ];
      requiredBy = [ "sysinit-reactivation.target" ];
      before = [ "sysinit-reactivation.target" ];
      after = [ "local-fs.target" ];
      unitConfig.DefaultDependencies = "no";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
    };
  };
}

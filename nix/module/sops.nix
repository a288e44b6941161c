# sops-nix gets this host's age identity from pullnode, but only where key
# sources are set. Without them no option of sops-nix is touched.
{
  config,
  lib,
  options,
  ...
}:

let
  cfg = config.services.pullnode;
  handsOver =
    cfg.enable && cfg.settings.keys.sources != [ ] && cfg.settings.keys.handoff == "file";
in
{
  config = lib.optionalAttrs (options ? sops) {
    sops = lib.mkIf handsOver {
      age.keyFile = lib.mkDefault "/run/pullnode-handoff/age.key";
      age.sshKeyPaths = lib.mkDefault [ ];
      gnupg.sshKeyPaths = lib.mkDefault [ ];
    };
  };
}

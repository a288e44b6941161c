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
  wired = cfg.enable && cfg.settings.keys.sources != [ ];
  byPlugin = cfg.settings.keys.handoff == "plugin";
in
{
  config = lib.optionalAttrs (options ? sops) {
    sops = lib.mkIf wired {
      age = {
        # The first holds no secret: it tells age to ask the keys process.
        keyFile = lib.mkDefault (
          if byPlugin then "/run/pullnode-keys/age-plugin.txt" else "/run/pullnode-handoff/age.key"
        );
        sshKeyPaths = lib.mkDefault [ ];
      }
      # Versions of sops-nix without it cannot use a plugin; take "file" there.
      // lib.optionalAttrs (options.sops.age ? plugins) {
        plugins = lib.mkIf byPlugin [ cfg.package ];
      };
      gnupg.sshKeyPaths = lib.mkDefault [ ];
    };
  };
}

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

  pluginFile = "/run/pullnode-keys/age-plugin.txt";
  handoffFile = "/run/pullnode-handoff/age.key";
  asksUs = wired && config.sops.age.keyFile == pluginFile;
  handedOver = wired && config.sops.age.keyFile == handoffFile;

  secrets = builtins.attrValues (config.sops.secrets or { });
  forUsers = builtins.filter (s: s.neededForUsers or false) secrets;
  installs = builtins.any (s: !(s.neededForUsers or false)) secrets;

  late = import ./late.nix cfg.settings.keys.sources;
in
{
  config = lib.optionalAttrs (options ? sops) {
    sops = lib.mkIf wired (
      {
        age = {
          # The first holds no secret: it tells age to ask the keys process.
          keyFile = lib.mkDefault (if byPlugin then pluginFile else handoffFile);
          sshKeyPaths = lib.mkDefault [ ];
        }
        # Versions of sops-nix without it cannot use a plugin; take "file" there.
        // lib.optionalAttrs (options.sops.age ? plugins) {
          plugins = lib.mkIf byPlugin [ cfg.package ];
        };
        gnupg.sshKeyPaths = lib.mkDefault [ ];
      }
      # An activation script runs at boot before there is any socket. A host whose
      # sops-nix has an identity of its own keeps what it has.
      // lib.optionalAttrs (options.sops ? useSystemdActivation) {
        useSystemdActivation = lib.mkIf asksUs (lib.mkDefault true);
      }
    );

    systemd.services.sops-install-secrets =
      lib.mkIf (asksUs && installs && config.sops.useSystemdActivation or false)
        {
          wants = [ "pullnode-keys.socket" ];
          after = [ "pullnode-keys.socket" ] ++ lib.optional late "pullnode-await-key.service";
          requiredBy = [ "pullnode-secrets.target" ];
          wantedBy = lib.mkIf late (lib.mkForce [ ]);
          before =
            if late then
              lib.mkForce [
                "pullnode-secrets.target"
                "sysinit-reactivation.target"
              ]
            else
              # Newer versions of sops-nix say the second by themselves.
              [
                "pullnode-secrets.target"
                "sysinit.target"
              ];
        };

    assertions = [
      {
        assertion = !asksUs || forUsers == [ ];
        message = "sops.secrets with neededForUsers: users are made before the keys process of services.pullnode can answer. Take neededForUsers away, or give sops-nix an identity of its own with sops.age.keyFile.";
      }
      {
        assertion = !handedOver || forUsers == [ ];
        message = "sops.secrets with neededForUsers: at boot services.pullnode hands no file over, so the users would have no passwords. Take neededForUsers away, or give sops-nix an identity of its own with sops.age.keyFile.";
      }
    ];
  };
}

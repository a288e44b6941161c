# Drop-ins for the units of the package: the path to the tools, the credentials
# of private remotes and key sources, and restarts when the settings change.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pullnode;
  inherit (cfg) settings;

  # As internal/config names them: the one of "url" is origin, others by place.
  remotes =
    lib.optional (settings.url != null) {
      name = "origin";
      inherit (settings) auth;
    }
    ++ settings.remotes;
  named = lib.imap1 (
    i: remote:
    remote
    // {
      name =
        if remote.name != null then
          remote.name
        else if i == 1 then
          "origin"
        else
          "remote${toString i}";
    }
  ) remotes;

  remoteCredentials = lib.concatMap (
    { name, auth, ... }:
    lib.optional (auth.tokenFile != null) "${name}.token:${auth.tokenFile}"
    ++ lib.optional (auth.keyFile != null) "${name}.key:${auth.keyFile}"
  ) named;

  credentialsOf =
    encrypted:
    lib.mapAttrsToList (name: c: "${name}:${c.path}") (
      lib.filterAttrs (_: c: c.encrypted == encrypted) cfg.credentials
    );

  inherit (settings.keys) sources;
  hasSource = type: builtins.any (s: s.type or null == type) sources;
  usesTPM =
    hasSource "tpm" || builtins.any (s: builtins.match "tpm:.*" (s.unlock or "") != null) sources;

  # What the keys process may do beyond its unit file depends on its sources.
  sourceRights = lib.mkMerge [
    (lib.mkIf (hasSource "usb") {
      serviceConfig = {
        CapabilityBoundingSet = [ "CAP_SYS_ADMIN" ];
        SystemCallFilter = [ "@mount" ];
        DeviceAllow = [ "block-* r" ];
      };
    })
    (lib.mkIf usesTPM {
      # Where firmware has told of a TPM whose device is not there yet.
      wants = [ "tpm2.target" ];
      after = [ "tpm2.target" ];
      serviceConfig = {
        DeviceAllow = [ "char-tpm rw" ];
        # The device's group, where there is one; root may not write past modes here.
        SupplementaryGroups = lib.optional (config.security.tpm2.enable or false) config.security.tpm2.tssGroup;
      };
    })
    # Not after it: what asks before sysinit.target would wait for a socket that
    # comes after sysinit.target, and neither would ever go on.
    (lib.mkIf (hasSource "yubikey") { wants = [ "pcscd.socket" ]; })
  ];

  # Nothing of this is there before sysinit.target.
  lateUnits =
    lib.optional (hasSource "git" || hasSource "server") "network-online.target"
    ++ lib.optional (hasSource "git") "pullnode-keyfetch.socket"
    ++ lib.optional (hasSource "yubikey") "pcscd.socket";

  gitCredentials = lib.concatMap (
    s:
    let
      name = s.name or "keys";
    in
    lib.optional (s ? keyFile) "${name}.key:${s.keyFile}"
    ++ lib.optional (s ? tokenFile) "${name}.token:${s.tokenFile}"
  ) (builtins.filter (s: s.type or null == "git") settings.keys.sources);

  # Both units read the key sources; see docs/keys.md.
  keyCredentials = {
    serviceConfig = lib.mkMerge [
      (lib.mkIf (credentialsOf false != [ ]) { LoadCredential = credentialsOf false; })
      (lib.mkIf (credentialsOf true != [ ]) { LoadCredentialEncrypted = credentialsOf true; })
    ];
  };
in
{
  options.services.pullnode.credentials = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule {
        options = {
          path = lib.mkOption {
            type = lib.types.pathWith {
              absolute = true;
              inStore = false;
            };
            example = "/var/lib/host.age.cred";
            description = "Where the credential is on this host; never in the Nix store.";
          };
          encrypted = lib.mkOption {
            type = lib.types.bool;
            default = true;
            example = false;
            description = "Whether `systemd-creds encrypt` made it; otherwise it is plain.";
          };
        };
      }
    );
    default = { };
    example = lib.literalExpression ''{ "host.age".path = "/var/lib/host.age.cred"; }'';
    description = "systemd credentials for key sources of the type `credential`, by the source's `name`.";
  };

  config = lib.mkIf cfg.enable {
    systemd.packages = [ cfg.package ];

    # Without it no YubiKey is ever there, and nothing says why.
    services.pcscd.enable = lib.mkIf (hasSource "yubikey") (lib.mkDefault true);

    systemd.services.pullnode = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ cfg.settingsFile ];
      path = [
        config.nix.package
        config.systemd.package
        pkgs.gitMinimal
        pkgs.openssh
      ];
    };

    systemd.services.pullnode-sync = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ cfg.settingsFile ];
      # For remotes on this machine: it asks `git upload-pack`.
      path = [ pkgs.gitMinimal ];
      serviceConfig.LoadCredential = lib.mkIf (remoteCredentials != [ ]) remoteCredentials;
    };

    systemd.sockets.pullnode-keys.wantedBy = [ "sockets.target" ];

    systemd.services.pullnode-keys = lib.mkMerge [
      keyCredentials
      sourceRights
      { restartTriggers = [ cfg.settingsFile ]; }
    ];

    systemd.services.pullnode-handoff = keyCredentials;

    # The question itself holds up the boot: the target fails as soon as one unit that
    # installs secrets does.
    systemd.services.pullnode-await-key = lib.mkIf (sources != [ ]) {
      wants = lateUnits;
      after = lateUnits;
      before = lib.optional (settings.keys.onMissing == "block-boot") "multi-user.target";
    };

    systemd.targets.pullnode-secrets = lib.mkIf (sources != [ ]) {
      wantedBy = [ "multi-user.target" ];
    };

    systemd.sockets.pullnode-keyfetch = lib.mkIf (hasSource "git") { wantedBy = [ "sockets.target" ]; };
    systemd.services."pullnode-keyfetch@" = lib.mkIf (hasSource "git") {
      path = [ pkgs.gitMinimal ];
      serviceConfig.LoadCredential = lib.mkIf (gitCredentials != [ ]) gitCredentials;
    };
  };
}

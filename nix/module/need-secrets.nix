# Services that need secrets wait for them.
{ config, lib, ... }:

let
  cfg = config.services.pullnode;
in
{
  options.services.pullnode.needSecrets = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [ ];
    example = [ "nginx" ];
    description = ''
      Services that need this host's secrets: they are started when the secrets are
      there, also when the key comes long after the boot.
    '';
  };

  config = lib.mkIf cfg.enable {
    systemd.services = builtins.listToAttrs (
      map (name: {
        inherit name;
        value = {
          requires = [ "pullnode-secrets.target" ];
          after = [ "pullnode-secrets.target" ];
          wantedBy = [ "pullnode-secrets.target" ];
        };
      }) cfg.needSecrets
    );
  };
}

# Follows what has proved itself in staging, and takes longer to believe it.
{ lib, ... }:
{
  services.pullnode.settings = {
    branch = lib.mkDefault "production";
    # Must open before a switch, like the host's own file.
    keys.files = [ "secrets/production.yaml" ];
    health.window = lib.mkDefault "10m";
    health.successes = lib.mkDefault 6;
  };

  # Shared by the machines of this environment, its recipients in .sops.yaml.
  sops.secrets.alerts-token.sopsFile = ../../secrets/production.yaml;
}

# Follows the branch that everything goes through first.
{ lib, ... }:
{
  services.pullnode.settings = {
    branch = lib.mkDefault "staging";
    # Must open before a switch, like the host's own file.
    keys.files = [ "secrets/staging.yaml" ];
  };

  # Shared by the machines of this environment, its recipients in .sops.yaml.
  sops.secrets.alerts-token.sopsFile = ../../secrets/staging.yaml;
}

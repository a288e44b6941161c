{ config, ... }:
{
  imports = [
    ../../modules/base.nix
    ../../modules/monitoring.nix
    ../../modules/secrets.nix
    ../../modules/ssh.nix
    ../../modules/users.nix
  ];

  services.pullnode.settings.health.checks.web = {
    type = "http";
    url = "http://127.0.0.1/";
  };

  sops.defaultSopsFile = ./secrets.yaml;
  sops.secrets.web-token.owner = config.services.nginx.user;

  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      locations."/".return = "200 'hello from ${config.networking.hostName}\\n'";
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "26.05";
}

# The quick start, and what `nix run .#vm` boots: a web server with a secret.
{ config, lib, ... }:
{
  imports = [
    ../../modules/base.nix
    ../../modules/secrets.nix
    ../../modules/ssh.nix
    ../../modules/users.nix
    ./vm.nix
  ];

  services.pullnode.settings.health.checks.web = {
    type = "http";
    url = "http://127.0.0.1/";
  };

  sops.defaultSopsFile = ./secrets.yaml;
  sops.secrets.greeting.owner = config.services.nginx.user;

  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      locations."/".return = "200 'hello from ${config.networking.hostName}\\n'";
      locations."= /greeting".alias = config.sops.secrets.greeting.path;
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  boot.loader.systemd-boot.enable = lib.mkDefault true;
  system.stateVersion = "26.05";
}

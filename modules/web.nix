# A web server that says its name, checked by pullnode before a new system stays.
{ config, ... }:
{
  imports = [
    ./base.nix
    ./monitoring.nix
    ./secrets.nix
    ./ssh.nix
    ./users.nix
  ];

  services.pullnode.settings.health.checks.web = {
    type = "http";
    url = "http://127.0.0.1/";
  };

  sops.secrets.web-token.owner = config.services.nginx.user;

  services.nginx = {
    enable = true;
    virtualHosts.default = {
      default = true;
      locations."/".return = "200 'hello from ${config.networking.hostName}\\n'";
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];
}

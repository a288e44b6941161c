# The least that a node needs, on a small ARM board: no services, and one secret.
{ config, lib, ... }:
{
  imports = [
    ../../modules/base.nix
    ../../modules/secrets.nix
    ../../modules/ssh.nix
    ../../modules/users.nix
  ];

  # It is slow, so it gets builds from a cache and asks seldom.
  services.pullnode.settings.schedule.interval = "30m";
  services.pullnode.tools.enable = false;

  # A board in a corner without a cable. The secret is a line psk=PASSPHRASE.
  sops.defaultSopsFile = ./secrets.yaml;
  sops.secrets.wifi.owner = "wpa_supplicant";
  networking.wireless = {
    enable = true;
    secretsFile = config.sops.secrets.wifi.path;
    networks.example.pskRaw = "ext:psk";
  };

  boot.loader.systemd-boot.enable = lib.mkDefault true;

  system.stateVersion = "26.05";
}

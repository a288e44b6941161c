# The least that a node needs, on a small ARM board: no secrets, no services.
{ lib, ... }:
{
  imports = [
    ../../modules/base.nix
    ../../modules/ssh.nix
    ../../modules/users.nix
  ];

  # It is slow, so it gets builds from a cache and asks seldom.
  services.pullnode.settings.schedule.interval = "30m";
  services.pullnode.tools.enable = false;

  boot.loader.systemd-boot.enable = lib.mkDefault true;

  system.stateVersion = "26.05";
}

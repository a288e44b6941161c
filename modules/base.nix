# What every machine of this fleet has.
{ lib, ... }:
{
  imports = [ ./pullnode.nix ];

  nix.settings = {
    experimental-features = [
      "nix-command"
      "flakes"
    ];
    trusted-users = [ "root" ];
  };
  nix.channel.enable = false;
  nix.gc = {
    automatic = true;
    dates = "weekly";
    options = "--delete-older-than 30d";
  };

  # /boot must have room for the kernel of the next system.
  boot.loader.systemd-boot.configurationLimit = lib.mkDefault 10;
  boot.loader.efi.canTouchEfiVariables = lib.mkDefault false;
  boot.tmp.cleanOnBoot = true;

  networking.useNetworkd = true;
  networking.firewall.enable = true;
  services.journald.extraConfig = "SystemMaxUse=500M";
  time.timeZone = lib.mkDefault "UTC";
}

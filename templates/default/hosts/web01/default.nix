{ lib, ... }:
{
  services.openssh = {
    enable = true;
    settings.PasswordAuthentication = false;
  };
  users.users.root.openssh.authorizedKeys.keys = lib.concatLists (
    lib.attrValues (import ../../modules/operators.nix)
  );

  services.pullnode = {
    enable = true;
    settings.health.checks.ssh = {
      type = "tcp";
      address = "127.0.0.1:22";
      banner = "SSH-2.0-";
    };
  };

  boot.loader.systemd-boot.enable = true;
  boot.loader.systemd-boot.configurationLimit = 10;
  system.stateVersion = "26.05";
}

{
  imports = [ ../../modules/web.nix ];

  sops.defaultSopsFile = ./secrets.yaml;

  boot.loader.systemd-boot.enable = true;
  system.stateVersion = "26.05";
}

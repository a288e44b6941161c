# Every machine follows the repository of repository.nix.
{ config, lib, ... }:
{
  services.pullnode = {
    enable = true;
    settings = lib.mapAttrs (_: lib.mkDefault) (import ./repository.nix);
  };

  warnings =
    lib.optional
      (lib.hasPrefix "0000000000000000000000000000000000000000@" config.services.pullnode.settings.introduction)
      "services.pullnode.settings.introduction is the placeholder of modules/repository.nix: this machine will deploy nothing. `pullnode init` prints yours.";
}

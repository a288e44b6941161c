# What all machines of this environment have in common.
{ lib, ... }:
{
  services.pullnode.settings = lib.mapAttrs (_: lib.mkDefault) (import ../modules/repository.nix);
}

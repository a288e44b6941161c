# The operators of operators.nix, and nobody else. Users have no password, so sudo
# asks for none; on the console root can be reached only by a rescue system.
{ lib, ... }:
let
  operators = import ./operators.nix;
in
{
  users.mutableUsers = false;
  users.users =
    lib.mapAttrs (_: keys: {
      isNormalUser = true;
      extraGroups = [ "wheel" ];
      openssh.authorizedKeys.keys = keys;
    }) operators
    // {
      root.openssh.authorizedKeys.keys = lib.concatLists (lib.attrValues operators);
    };
  security.sudo.wheelNeedsPassword = false;
}

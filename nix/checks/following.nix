# What the machine of vm-deploys-signed and vm-puts-back has, as it is tested and as it
# is built anew on itself: if the two differed in their file systems, the switch would
# take /nix/store away.
{ lib, ... }:
{
  imports = [
    ./node.nix
    ./web-server.nix
  ];

  virtualisation = {
    memorySize = lib.mkForce 4096;
    diskSize = 16384;
    cores = 2;
    # What the machine fetches and builds is too much for memory.
    writableStoreUseTmpfs = false;
  };
  nix.settings = {
    experimental-features = [
      "nix-command"
      "flakes"
    ];
    hashed-mirrors = null;
    connect-timeout = 1;
  };
}

# The installer as an ISO image, for a stick or a virtual CD.
{
  lib,
  pkgs,
  modulesPath,
  ...
}:
{
  imports = [
    ./installer.nix
    (modulesPath + "/installer/cd-dvd/installation-cd-base.nix")
  ];

  image.baseName = lib.mkForce "pullnode-installer-${pkgs.stdenv.hostPlatform.system}";
  isoImage.volumeID = "PULLNODE";
  isoImage.squashfsCompression = lib.mkDefault "zstd -Xcompression-level 6";
}

# Images: of machines, named MACHINE-FORMAT, by the image builder of NixOS
# (`system.build.images`); and of the installer.
{
  lib,
  nixosConfigurations,
  installer,
}:
system:
let
  # An ISO of an installed machine would be a machine without a disk.
  formats = [
    "qemu-efi"
    "raw-efi"
    "sd-card"
  ];
  imagesOf =
    name: nixos:
    lib.listToAttrs (
      map (format: lib.nameValuePair "${name}-${format}" nixos.config.system.build.images.${format}) formats
    );
  machines = lib.filterAttrs (
    _: nixos: nixos.config.nixpkgs.hostPlatform.system == system
  ) nixosConfigurations;
  kexec =
    { modulesPath, ... }:
    {
      imports = [
        ./installer.nix
        (modulesPath + "/installer/netboot/netboot-minimal.nix")
      ];
    };
in
lib.concatMapAttrs imagesOf machines
// {
  installer-iso = (installer ./iso.nix system).config.system.build.isoImage;
  installer-kexec = (installer kexec system).config.system.build.image;
}

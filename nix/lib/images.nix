# Images of machines, by the image builder of NixOS (`system.build.images`).
{ lib }:
let
  # Those that bring file systems of their own.
  formats = [
    "iso"
    "qemu"
    "qemu-efi"
    "raw"
    "raw-efi"
    "sd-card"
  ];

  # What a machine runs that was started from an image is not what the installer
  # would have put on its disks: other file systems, another boot loader. It follows
  # the system of its image, or the first commit would take its file systems away.
  image = name: format: {
    disko.enableConfig = lib.mkForce false;
    services.pullnode.settings.attr = lib.mkDefault ''nixosConfigurations."${name}".config.system.build.images.${format}.passthru.config.system.build.toplevel'';
  };
in
{
  # For the machine itself.
  ofHost = name: {
    image.modules = lib.genAttrs formats (image name) // {
      # Cards boot by extlinux.conf.
      sd-card = {
        imports = [ (image name "sd-card") ];
        boot.loader.systemd-boot.enable = lib.mkForce false;
      };
    };
  };

  # MACHINE-FORMAT. An ISO of an installed machine would be a machine without a disk.
  named =
    name: nixos:
    lib.listToAttrs (
      map (format: lib.nameValuePair "${name}-${format}" nixos.config.system.build.images.${format}) [
        "qemu-efi"
        "raw-efi"
        "sd-card"
      ]
    );
}

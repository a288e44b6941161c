# The installer as a tarball, to be unpacked on a Linux that runs and booted there by its
# kexec_nixos. The tarball that NixOS itself makes of such a machine has neither kernel
# nor initrd in it.
{
  config,
  lib,
  modulesPath,
  pkgs,
  ...
}:
let
  inherit (config.system.build) kernel netbootRamdisk toplevel;
  name = "pullnode-installer-${pkgs.stdenv.hostPlatform.system}-kexec";
  script = pkgs.replaceVars ./kexec_nixos.sh {
    cmdline = "init=${toplevel}/init ${toString config.boot.kernelParams}";
  };
in
{
  imports = [
    ./installer.nix
    (modulesPath + "/installer/netboot/netboot-minimal.nix")
  ];

  system.stateVersion = lib.mkDefault lib.trivial.release;

  # The network as on the ISO, also from the kernel's command line.
  networking.networkmanager.enable = true;

  # Statically linked, for whatever Linux it is.
  system.build.image = lib.mkForce (
    pkgs.runCommand name { } ''
      mkdir -p root/kexec_nixos.d "$out"
      install -m 0755 ${script} root/kexec_nixos
      install -m 0755 ${lib.getExe' pkgs.pkgsStatic.kexec-tools "kexec"} root/kexec_nixos.d/kexec
      cp ${kernel}/${config.system.boot.loader.kernelFile} root/kexec_nixos.d/kernel
      cp ${netbootRamdisk}/initrd root/kexec_nixos.d/initrd
      tar --sort=name --mtime=@1 --owner=0 --group=0 -C root -cf - kexec_nixos kexec_nixos.d \
        | gzip -1 > "$out/${name}.tar.gz"
    ''
  );
}

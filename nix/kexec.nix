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

  # `pullnode image` appends an archive with a host key to the initrd, so that whoever
  # made the image knows what boots from it. Without one sshd makes a new key at each
  # boot.
  boot.initrd.systemd.services.pullnode-installer-host-key = {
    description = "Take the SSH host key of the image";
    unitConfig = {
      DefaultDependencies = false;
      ConditionPathExists = "/pullnode/ssh_host_ed25519_key";
      RequiresMountsFor = "/sysroot";
    };
    wantedBy = [ "initrd.target" ];
    before = [ "initrd.target" ];
    after = [ "initrd-root-fs.target" ];
    serviceConfig.Type = "oneshot";
    script = ''
      mkdir -p /sysroot/etc/ssh
      (umask 077; cat /pullnode/ssh_host_ed25519_key > /sysroot/etc/ssh/ssh_host_ed25519_key)
    '';
  };

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

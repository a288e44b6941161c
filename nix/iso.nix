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

  # `pullnode image` adds a host key to the ISO after it was built, so that whoever
  # made the image knows what boots from it. Without one sshd makes a new key at each
  # boot.
  systemd.services.pullnode-installer-host-key = {
    description = "Take the SSH host key of the image";
    wantedBy = [
      "sshd-keygen.service"
      "sshd.service"
    ];
    before = [
      "sshd-keygen.service"
      "sshd.service"
    ];
    unitConfig.ConditionPathExists = "/iso/pullnode/ssh_host_ed25519_key";
    serviceConfig.Type = "oneshot";
    script = "install -D -m 0600 /iso/pullnode/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key";
  };

  isoImage.squashfsCompression = lib.mkDefault "zstd -Xcompression-level 6";
}

# Two mirrored disks. Each has a boot partition; only the first one is kept up to
# date by the boot loader.
let
  disk =
    device: mountpoint:
    {
      type = "disk";
      inherit device;
      content = {
        type = "gpt";
        partitions = {
          ESP = {
            size = "1G";
            type = "EF00";
            content = {
              type = "filesystem";
              format = "vfat";
              inherit mountpoint;
              mountOptions = [
                "umask=0077"
                "nofail"
              ];
            };
          };
          raid = {
            size = "100%";
            content = {
              type = "mdraid";
              name = "root";
            };
          };
        };
      };
    };
in
{
  disko.devices = {
    disk.first = disk "/dev/nvme0n1" "/boot";
    disk.second = disk "/dev/nvme1n1" "/boot-spare";
    mdadm.root = {
      type = "mdadm";
      level = 1;
      content = {
        type = "filesystem";
        format = "xfs";
        mountpoint = "/";
      };
    };
  };
  boot.swraid.enable = true;
  boot.swraid.mdadmConf = "MAILADDR root";
}

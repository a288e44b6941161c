# Only in the virtual machine: a host key that everybody has, so that the secrets
# of this example open, and a login on the console.
{ lib, pkgs, ... }:
{
  virtualisation.vmVariant = {
    virtualisation.memorySize = 2048;
    virtualisation.forwardPorts = [
      {
        from = "host";
        host.port = 8080;
        guest.port = 80;
      }
    ];

    system.activationScripts.testHostKey.text = ''
      ${lib.getExe' pkgs.coreutils "install"} -D -m 0400 ${./test-only-host-key} /etc/ssh/ssh_host_ed25519_key
    '';
    system.activationScripts.setupSecrets.deps = [ "testHostKey" ];

    services.getty.autologinUser = "root";
  };
}

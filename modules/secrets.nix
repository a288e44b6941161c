# Secrets that open with the machine's SSH host key. sops-nix reads it by itself, so
# they are there at boot too; pullnode proves before a switch that they open.
{
  services.pullnode.settings.keys.sources = [ { type = "ssh-host-key"; } ];

  sops.age = {
    keyFile = null;
    sshKeyPaths = [ "/etc/ssh/ssh_host_ed25519_key" ];
  };
}

# Who may log in as root, on the machines and on the installer: name -> SSH public keys.
# Without one you cannot log in.
{
  # alice = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... alice" ];
}

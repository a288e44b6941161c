# Who may log in, by SSH key: user name -> public keys. Replace this one, whose
# private half nobody has.
{
  operator = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb9tE4cSVmY7bd3xIibOBhJjcwOma29A7S7EL6+0seS replace-me@example.org"
  ];
}

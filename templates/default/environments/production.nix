# What all machines of this environment have in common. `pullnode init` prints the
# introduction; this one is a placeholder that nothing leads to.
{
  services.pullnode.settings = {
    url = "https://git.example.org/infra.git";
    introduction = "0000000000000000000000000000000000000000@SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  };
}

# Which repository the machines follow, and where their trust begins: write your own url
# here, and the introduction that `pullnode init` prints; this one is a placeholder that
# nothing leads to.
{
  url = "https://git.example.org/infra.git";
  introduction = "0000000000000000000000000000000000000000@SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
}

{
  system = "x86_64-linux";
  environment = "staging";
  address = "web-staging.example.org";
}

{
  system = "x86_64-linux";
  environment = "production";
  address = "web01.example.org";
}

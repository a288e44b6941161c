{
  system = "x86_64-linux";
  environment = "production";
  address = "web-production.example.org";
}

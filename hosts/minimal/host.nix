{
  system = "aarch64-linux";
}

{
  # The smallest configuration that pullnode can try: no inputs, no nixpkgs. What
  # stands for a NixOS system here is a directory with the one program that is
  # part of the contract, bin/switch-to-configuration.
  outputs = { self }: {
    nixosConfigurations.demo.config.system.build.toplevel = derivation {
      name = "nixos-system-demo";
      system = "@system@";
      builder = "/bin/sh";
      args = [ ./build.sh ];
      site = ./site;
      PATH = "/run/current-system/sw/bin:/usr/bin:/bin";
    };
  };
}

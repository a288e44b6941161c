# The system that the machine of the tests builds of itself: of the modules that the test
# framework of NixOS gives it too. The flake on it imports this file, and so does
# node-with-inputs.nix, which puts into its store what the build needs.
{
  nixpkgs,
  system,
  modules ? [ ],
}:
nixpkgs.lib.nixosSystem {
  modules = [
    (nixpkgs + "/nixos/lib/testing/nixos-test-base.nix")
    (nixpkgs + "/nixos/modules/virtualisation/qemu-vm.nix")
    ./following.nix
    {
      nixpkgs.hostPlatform = system;
      networking.hostName = "machine";
      # The tested machine does not come from a flake.
      nixpkgs.flake = {
        setFlakeRegistry = false;
        setNixPath = false;
      };
    }
  ]
  ++ modules;
}

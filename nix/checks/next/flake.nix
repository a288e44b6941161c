# The repository of the VM tests: its machine is the system that system.json names.
{
  outputs =
    { self }:
    {
      nixosConfigurations.machine.config.system.build.toplevel = import ./system.nix;
    };
}

# A signed commit is built, tried and kept, with the real switch-to-configuration.
{ ... }:
{
  name = "pullnode-deploys-signed";
  nodes.machine = ./following.nix;

  testScript = ''
    machine.wait_for_unit("pullnode.service")
    machine.succeed("sh /etc/repository.sh /etc/test-key /srv/infra")
    machine.succeed("sh /etc/commit.sh /etc/next /srv/infra /run/current-system/specialisation/deployed deploy")
    machine.wait_until_succeeds("grep yes /etc/deployed")
    machine.wait_until_succeeds("(pullnode status || true) | grep 'in sync'")

    # Kept: it is the default of the next boot too.
    machine.succeed("test $(readlink -f /nix/var/nix/profiles/system) = $(readlink -f /run/current-system)")
  '';
}

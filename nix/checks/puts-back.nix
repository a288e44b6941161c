# A signed commit that breaks a unit is put back, and not tried again.
{ ... }:
{
  name = "pullnode-puts-back";
  nodes.machine = ./following.nix;

  testScript = ''
    machine.wait_for_unit("pullnode.service")
    before = machine.succeed("readlink -f /run/current-system")
    machine.succeed("sh /etc/repository.sh /etc/test-key /srv/infra")
    machine.succeed("sh /etc/commit.sh /etc/next /srv/infra /run/current-system/specialisation/broken 'break it'")
    machine.wait_until_succeeds("(pullnode status || true) | grep -i reverted")

    assert before == machine.succeed("readlink -f /run/current-system")
    machine.fail("systemctl cat broken.service")
  '';
}

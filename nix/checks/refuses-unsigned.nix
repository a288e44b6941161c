# A commit without a signature changes nothing, and `status` says why.
{ ... }:
{
  name = "pullnode-refuses-unsigned";
  nodes.machine = ./node.nix;

  testScript = ''
    machine.wait_for_unit("pullnode.service")
    before = machine.succeed("readlink -f /run/current-system")

    machine.succeed("sh /etc/repository.sh /etc/test-key /srv/infra")
    machine.succeed(
        "cd /srv/infra && git -c user.name=x -c user.email=x@example.org commit -q --allow-empty -m unsigned"
    )
    machine.wait_until_succeeds("(pullnode status || true) | grep -i unsigned")

    assert before == machine.succeed("readlink -f /run/current-system")
  '';
}

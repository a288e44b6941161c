# The module's units start on NixOS, as the users and with the sockets that they
# should have, and `status` works without a repository.
{ ... }:
{
  name = "pullnode-starts";
  nodes.machine = ./node.nix;

  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_unit("pullnode.service")
    machine.wait_for_unit("pullnode-sync.service")
    machine.wait_for_unit("pullnode-keys.socket")
    machine.succeed("pullnode check-config /etc/pullnode/pullnode.json")

    # The remote is not there: that is said, and nothing else happens.
    machine.wait_until_succeeds("(pullnode status --json || true) | grep /srv/infra")
    machine.succeed("test $(systemctl show -P MainPID pullnode.service) != 0")
    machine.succeed("test $(stat -c %a /run/pullnode-keys/age.sock) = 600")

    # The fetching process is nobody in particular.
    pid = machine.succeed("systemctl show -P MainPID pullnode-sync.service").strip()
    machine.succeed(f"test $(stat -c %u /proc/{pid}) != 0")

    # Killed, it comes back.
    machine.succeed("systemctl kill -s KILL pullnode.service")
    machine.wait_until_succeeds("systemctl is-active pullnode.service")
  '';
}

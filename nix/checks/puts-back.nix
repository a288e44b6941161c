# A signed commit that breaks a required check is put back, and not tried again.
{ self, inputs, ... }:
{
  name = "pullnode-puts-back";
  nodes.machine = import ./node-with-inputs.nix { inherit self inputs; };

  testScript = ''
    machine.wait_for_unit("pullnode.service")
    machine.wait_for_open_port(8000)
    before = machine.succeed("readlink -f /run/current-system")
    machine.succeed("sh /etc/repository.sh /etc/test-key /srv/infra")
    machine.succeed(
        "cp /etc/flake.nix /srv/infra/",
        """echo '{ systemd.services.broken = { wantedBy = [ "multi-user.target" ]; serviceConfig.ExecStart = "/bin/false"; serviceConfig.Type = "oneshot"; }; }' > /srv/infra/change.nix""",
        "cd /srv/infra && git add -A && nix flake lock && git add -A",
        "cd /srv/infra && git -c user.name=operator -c user.email=operator@example.org commit -q -S -m 'break it'",
    )
    machine.wait_until_succeeds("(pullnode status || true) | grep -i reverted", timeout=1800)

    assert before == machine.succeed("readlink -f /run/current-system")
    machine.fail("systemctl cat broken.service")
  '';
}

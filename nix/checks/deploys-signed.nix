# A signed commit is built, tried and kept, with the real switch-to-configuration.
{ self, inputs, ... }:
{
  name = "pullnode-deploys-signed";
  nodes.machine = import ./node-with-inputs.nix { inherit self inputs; };

  testScript = ''
    machine.wait_for_unit("pullnode.service")
    machine.wait_for_open_port(8000)
    machine.succeed("sh /etc/repository.sh /etc/test-key /srv/infra")
    machine.succeed(
        "cp /etc/flake.nix /srv/infra/",
        """echo '{ environment.etc."deployed".text = "yes"; }' > /srv/infra/change.nix""",
        "cd /srv/infra && git add -A && nix flake lock && git add -A",
        "cd /srv/infra && git -c user.name=operator -c user.email=operator@example.org commit -q -S -m 'deploy'",
    )
    machine.wait_until_succeeds("grep yes /etc/deployed", timeout=1800)
    machine.wait_until_succeeds("(pullnode status || true) | grep 'in sync'", timeout=300)

    # Kept: it is the default of the next boot too.
    machine.succeed("test $(readlink -f /nix/var/nix/profiles/system) = $(readlink -f /run/current-system)")
  '';
}

# deploy.nodes, for the day when pulling is broken; pullnode itself never needs it.
{ inputs, lib }:
host: nixos:
let
  inherit (inputs.deploy-rs.lib.${host.system}) activate;
  cfg = nixos.config.services.pullnode;
  inherit (nixos.config.system.build) toplevel;
  # The agent makes the switch, with its checks and its guard, and puts back
  # what is bad: deploy-rs' own ways of doing so are off. The profile only
  # keeps what was copied; the system profile is the agent's.
  byAgent = {
    autoRollback = false;
    magicRollback = false;
    profiles.system = {
      user = "root";
      profilePath = "/nix/var/nix/profiles/pullnode-push";
      path =
        (
          activate.custom
          // {
            dryActivate = "${toplevel}/bin/switch-to-configuration dry-activate";
            boot = "echo 'pullnode does not take a system for the next boot only' >&2; exit 1";
          }
        )
          toplevel
          "${lib.getExe cfg.package} pushed ${toplevel}";
    };
  };
  bySwitch.profiles.system = {
    user = "root";
    path = activate.nixos nixos;
  };
in
{
  hostname = host.address;
  inherit (host) sshUser;
}
// (if cfg.enable then byAgent else bySwitch)

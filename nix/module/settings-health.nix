{ lib, ... }:
let
  inherit (lib) mkOption types;
  t = import ./types.nix { inherit lib; };
in
{
  options = {
    health = {
      settle = t.durationOption "10s" "Nothing counts before this time after a switch.";
      window = t.durationOption "5m" "Then the machine has this long to become healthy.";
      interval = t.durationOption "10s" "Time between two rounds of checks.";
      successes = t.countOption 3 "How many good rounds in a row are needed; at most 100.";
      allowRestarts = mkOption {
        type = types.attrsOf types.ints.unsigned;
        default = { };
        example = {
          "web.service" = 1;
        };
        description = "How often systemd may restart a service that the switch touched before that makes the new system bad.";
      };
      checks = mkOption {
        type = types.attrsOf (types.attrsOf types.anything);
        default = { };
        example = {
          web = {
            type = "http";
            url = "http://127.0.0.1/";
          };
        };
        description = "When the machine is well, by name; docs/health.md has each type.";
      };
    };
    lifeline = {
      window = t.durationOption "5m" "How long a new system may take to reach a remote again.";
      targets = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "gateway.example.org:22" ];
        description = "Places (`host:port`) that count as reached beside the remotes.";
      };
    };
  };
}

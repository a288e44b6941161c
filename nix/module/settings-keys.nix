{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.keys = {
    sources = mkOption {
      type = types.listOf (types.attrsOf types.anything);
      default = [ ];
      example = [ { type = "ssh-host-key"; } ];
      description = ''
        Where this host's age identity comes from, in the order that they are tried;
        docs/keys.md has each type. Empty: nothing of sops-nix is touched.
      '';
    };
    recipient = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z";
      description = "The public half that must come out; any other key raises an alarm.";
    };
    files = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "secrets/shared.yaml" ];
      description = "SOPS files that must open before a switch, beside `hosts/<hostName>/` and `secrets/<hostName>*`.";
    };
    handoff = mkOption {
      type = types.enum [
        "plugin"
        "file"
      ];
      default = "plugin";
      example = "file";
      description = ''
        How programs get at what is encrypted for this host: the age plugin asks the keys
        process, or the identity is a file in memory while a switch runs.
      '';
    };
    leakGuard = mkOption {
      type = types.enum [
        "refuse"
        "warn"
      ];
      default = "refuse";
      example = "warn";
      description = "What becomes of a commit that would put a private key into the Nix store.";
    };
    onMissing = mkOption {
      type = types.enum [
        "degraded"
        "wait"
        "block-boot"
      ];
      default = "degraded";
      example = "wait";
      description = ''
        What becomes of a program that asks for a secret while the identity is absent: it
        fails at once, or it waits. With `block-boot` it fails, and the boot does not
        reach `multi-user.target` before the identity is there; docs/keys.md has the way
        out.
      '';
    };
    hold = mkOption {
      type = types.enum [
        "activation"
        "uptime"
      ];
      default = "activation";
      example = "uptime";
      description = "How long the keys process keeps the identity: until nobody needs it, or until it is stopped.";
    };
  };
}

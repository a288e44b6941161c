# Types that several settings share.
{ lib }:
let
  inherit (lib) mkOption types;
in
rec {
  # A Go duration; internal/config reads it.
  duration = types.strMatching "([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+" // {
    description = "duration like \"90s\" or \"2h\"";
  };

  # A secret: by path, so that it never gets into the world-readable store.
  secretPath = types.pathWith {
    absolute = true;
    inStore = false;
  };

  durationOption =
    default: description:
    mkOption {
      type = duration;
      example = "90s";
      inherit default description;
    };

  countOption =
    default: description:
    mkOption {
      type = types.ints.positive;
      example = default * 2;
      inherit default description;
    };

  auth = mkOption {
    type = types.submodule {
      options = {
        tokenFile = mkOption {
          type = types.nullOr secretPath;
          default = null;
          example = "/var/lib/pullnode-token";
          description = "File with the access token of an `https` remote. Only the fetching process and the lifeline get it, as a credential.";
        };
        keyFile = mkOption {
          type = types.nullOr secretPath;
          default = null;
          example = "/var/lib/pullnode-deploy-key";
          description = "File with the SSH private key of an `ssh` remote; without a passphrase.";
        };
        hostKey = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI...";
          description = "The SSH server's own key. It is pinned: another one is refused.";
        };
      };
    };
    default = { };
    example = {
      tokenFile = "/var/lib/pullnode-token";
    };
    description = "How to read a private repository.";
  };
}

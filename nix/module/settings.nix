# services.pullnode.settings: RFC 42, so what has no option here can be set all the
# same; the program refuses what it does not know when the settings are built.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;
  format = pkgs.formats.json { };
  t = import ./types.nix { inherit lib; };

  optionalString =
    example: description:
    mkOption {
      type = types.nullOr types.str;
      default = null;
      inherit example description;
    };
in
{
  options.services.pullnode.settings = mkOption {
    type = types.submodule {
      freeformType = format.type;
      imports = [
        ./settings-keys.nix
        ./settings-health.nix
        ./settings-build.nix
      ];

      options = {
        hostName = mkOption {
          type = types.str;
          default = config.networking.hostName;
          defaultText = lib.literalExpression "config.networking.hostName";
          example = "web01";
          description = "Which machine of the repository this is: `nixosConfigurations.<hostName>`.";
        };

        url = optionalString "https://git.example.org/infra.git" ''
          The Git repository to follow: `https://`, `ssh://`, `file://` or an absolute
          path. Short for one entry in `remotes` that is named `origin`.
        '';

        inherit (t) auth;

        remotes = mkOption {
          type = types.listOf (
            types.submodule {
              options = {
                name = optionalString "mirror" "What `status` calls it. Default: `origin`, `remote2`, and so on.";
                url = mkOption {
                  type = types.str;
                  example = "https://mirror.example.org/infra.git";
                  description = "Where it is.";
                };
                inherit (t) auth;
              };
            }
          );
          default = [ ];
          example = [ { url = "https://mirror.example.org/infra.git"; } ];
          description = "More places that serve the branch, asked in order. None of them is trusted.";
        };

        branch = mkOption {
          type = types.str;
          default = "main";
          example = "production";
          description = "The one branch that is followed.";
        };

        dir = optionalString "nixos" "The directory of `flake.nix` in the repository. Default: its root. Nix 2.8, which Debian 12 has, refuses another one.";

        attr = optionalString "nixosConfigurations.web01.config.system.build.toplevel" ''
          The flake attribute of the system. Default:
          `nixosConfigurations."<hostName>".config.system.build.toplevel`.
        '';

        introduction = mkOption {
          type = types.nullOr (
            types.strMatching "[0-9a-f]{40}@SHA256:[A-Za-z0-9+/]{43}"
            // {
              description = "<commit>@SHA256:<fingerprint>";
            }
          );
          default = null;
          example = "4f2c9e16fd807b096b48283debdcddccfea34bad@SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ";
          description = "Where trust begins: a commit and the key that signed it, as `pullnode init` prints them. Required.";
        };

        revokedKeys = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ" ];
          description = "Fingerprints of keys that this host refuses, whatever the repository says.";
        };

        recoveryKey = optionalString "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI..." ''
          The public half of an offline key that may one day sign a reset.
        '';

        operation = mkOption {
          type = types.enum [
            "switch"
            "boot"
            "test"
            "observe"
          ];
          default = "switch";
          example = "observe";
          description = ''
            What is done with an accepted commit. `switch` tries it, checks the
            machine's health, and keeps it or puts the old system back; `boot` makes it
            the default of the next boot; `test` tries it and never makes it the default;
            `observe` verifies, builds and reports, and never activates anything.
          '';
        };

        schedule = {
          interval = t.durationOption "5m" "Time between two questions to the remote.";
          jitter = mkOption {
            type = types.nullOr t.duration;
            default = null;
            example = "1m";
            description = "At most this much is added to `interval` at random. Default: a fifth of it.";
          };
          cron = mkOption {
            type = types.listOf types.str;
            default = [ ];
            example = [ "*/10 6-22 * * *" ];
            description = "When to ask, in local time, instead of `interval`.";
          };
        };
      };
    };
    default = { };
    example = lib.literalExpression ''
      {
        url = "https://git.example.org/infra.git";
        introduction = "4f2c9e16fd807b096b48283debdcddccfea34bad@SHA256:9fXqYYds7uXWxH79aI0Wu1dP3cQ5mE8rT2kB6nLvZlQ";
        health.checks.web = { type = "http"; url = "http://127.0.0.1/"; };
      }
    '';
    description = ''
      The settings. Options below are typed; others are passed on as they are and
      checked by `pullnode check-config` when the system is built.
    '';
  };
}

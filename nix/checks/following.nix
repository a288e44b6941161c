# The machine of vm-deploys-signed and vm-puts-back. What they commit are systems that
# lie in its store from the beginning: next/system.nix says why.
{ pkgs, ... }:
{
  imports = [ ./node.nix ];

  specialisation = {
    deployed.configuration.environment.etc."deployed".text = "yes";
    broken.configuration.systemd.services.broken = {
      description = "Fail";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${pkgs.coreutils}/bin/false";
      };
    };
  };

  environment.etc = {
    "next/flake.nix".source = ./next/flake.nix;
    "next/system.nix".source = ./next/system.nix;
    "next/tools.json".text = builtins.toJSON {
      inherit (pkgs.stdenv.hostPlatform) system;
      bash = pkgs.bash;
      coreutils = pkgs.coreutils;
      findutils = pkgs.findutils;
      sed = pkgs.gnused;
    };
    "commit.sh".source = ./commit.sh;
  };

  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}

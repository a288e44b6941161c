# The settings file, and what is refused before anything is built.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.pullnode;
  observes = cfg.settings.operation == "observe";

  # A typed setting that nobody set is not written: the program has the default.
  dropNulls =
    value:
    if lib.isAttrs value then
      lib.mapAttrs (_: dropNulls) (lib.filterAttrs (_: v: v != null) value)
    else if lib.isList value then
      map dropNulls value
    else
      value;

  # In a cross build the builder cannot run the program of this machine, but its own.
  checker =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      cfg.package
    else
      pkgs.buildPackages.callPackage ../package.nix { };

  other = name: "services.pullnode and ${name} would both switch this machine. Disable one of them, or set services.pullnode.settings.operation = \"observe\" to try pullnode beside it.";
in
{
  config = lib.mkIf cfg.enable {
    services.pullnode.settingsFile =
      pkgs.runCommand "pullnode.json"
        {
          settings = builtins.toJSON (dropNulls cfg.settings);
          passAsFile = [ "settings" ];
          preferLocalBuild = true;
        }
        ''
          cp "$settingsPath" pullnode.json
          ${lib.getExe checker} check-config pullnode.json
          cp pullnode.json "$out"
        '';

    assertions = [
      {
        assertion = cfg.settings.url != null || cfg.settings.remotes != [ ];
        message = "services.pullnode.settings.url is missing: the Git repository to follow.";
      }
      {
        assertion = cfg.settings.introduction != null;
        message = "services.pullnode.settings.introduction is missing: `pullnode init` prints it.";
      }
      {
        assertion = observes || !config.system.autoUpgrade.enable;
        message = other "system.autoUpgrade";
      }
      {
        assertion = observes || !(config.services.comin.enable or false);
        message = other "services.comin";
      }
      {
        assertion = config.nix.enable;
        message = "services.pullnode builds with the Nix daemon: nix.enable must be true.";
      }
      {
        # Root without capabilities writes only where root owns.
        assertion = (config.nix.daemonUser or "root") == "root";
        message = "services.pullnode keeps its roots and the system's profile in /nix/var/nix, which must be root's: nix.daemonUser must be \"root\".";
      }
      {
        assertion = observes || config.system.switch.enable;
        message = "services.pullnode switches this machine: system.switch.enable must be true.";
      }
      {
        assertion = !(lib.elem "*" config.nix.settings.trusted-users);
        message = "nix.settings.trusted-users trusts everybody, so also what evaluates commits for services.pullnode. Name the users.";
      }
    ];
  };
}
